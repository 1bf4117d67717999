"""What XLA's compiler is told about programs that train models."""

import os

import jax

LEVEL = "xla_backend_optimization_level"


def options() -> dict[str, str]:
  """For `jax.jit(..., compiler_options=)`, on a CPU; elsewhere the defaults.

  XLA's own vectors of 256 bits leave half of an AVX-512 unit unused; narrower
  machines split them. And its default level of optimisation, 3, compiles a
  program of shadow training in three times the time of level 2, to run no
  faster (docs/performance.md). A level in XLA_FLAGS is obeyed.
  """
  if jax.local_devices()[0].platform != "cpu":
    return {}
  chosen = LEVEL in os.environ.get("XLA_FLAGS", "")
  return {"xla_cpu_prefer_vector_width": "512"} | (
    {} if chosen else {LEVEL: "2"}
  )
