"""Which kinds of product a device has: speed and error of each.

python -m bench.presets [--quick] [--keep=FILE]

A square product of normal numbers by every `jax.lax.DotAlgorithmPreset` that
takes float32: `ours` in GFLOP/s, `peer` that of F32_F32_F32, and `error` the
root mean square distance from the product in float64, over that product's own.
A kind that the device lacks is named with what the compiler said. It tells
which one `training.fast.first_layer.shared_product` should use.
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved, printed

_QUICK = flags.DEFINE_bool("quick", False, "a small product")
_KEEP = flags.DEFINE_string("keep", "", "file for the rows as well")
EXACT = jax.lax.DotAlgorithmPreset.F32_F32_F32
ROUNDS = 5


def main(argv):
  del argv
  printed(rows(256 if _QUICK.value else 8192), _KEEP.value)


def rows(side: int):
  a, b = np.random.default_rng(0).normal(size=(2, side, side)).astype("float32")
  few = np.arange(0, side, max(side // 16, 1))
  truth = a[few].astype(float) @ b.astype(float)
  a, b = jnp.asarray(a), jnp.asarray(b)
  exact = _product(EXACT, a, b)
  for preset in jax.lax.DotAlgorithmPreset:
    if np.float32 not in (preset.supported_lhs_types or ()):
      continue
    try:
      run = _product(preset, a, b)
      found = np.asarray(run())[few]
    except Exception as error:  # whatever a compiler says
      yield dict(case=preset.name, lacking=str(error).splitlines()[0][:120])
      continue
    seconds = interleaved(
      dict(
        ours=lambda run=run: run().block_until_ready(),
        peer=lambda: exact().block_until_ready(),
      ),
      ROUNDS,
    )
    rate = {k: round(2e-9 * side**3 / v, 1) for k, v in seconds.items()}
    yield dict(
      case=preset.name,
      **rate,
      ratio=round(seconds["peer"] / seconds["ours"], 2),
      unit=f"GFLOP/s, side {side}",
      error=float(np.std(found - truth) / np.std(truth)),
    )


def _product(preset, a, b):
  product = jax.jit(lambda a, b: jax.lax.dot(a, b, precision=preset))
  return lambda: product(a, b)


if __name__ == "__main__":
  app.run(main)
