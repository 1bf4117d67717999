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
  told = {"xla_cpu_prefer_vector_width": "512"}
  if LEVEL not in os.environ.get("XLA_FLAGS", ""):
    told[LEVEL] = "2"
  return told


def unrun() -> dict[str, str]:
  """For a program that is compiled to read its memory and never runs.

  Memory is planned before there is machine code, so that it need not be
  optimised on a CPU; a GPU's compiler would try its ways of each product.
  """
  quickly = {"cpu": {LEVEL: "0"}, "gpu": {"xla_gpu_autotune_level": "0"}}
  return quickly.get(jax.local_devices()[0].platform, {})
