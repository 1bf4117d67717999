"""Shadow training on whatever device there is, against its roofline.

python -m bench.gpu [--quick]

Peak and bandwidth are measured in the same process (a square matrix product in
the precision of the row, float32 in full or bfloat16 summed in float32, and a
pass over a large array). bfloat16 is `training.products`: each model is trained
as its difference to a base run. `ratio` is the
time of the operations at that peak over the measured one, `memory_share` that
of the bytes at that bandwidth, as the compiler counts both for a step of a
block of models. The larger is the share of the roofline; where a block lies in
a cache, as on a CPU, bytes are no limit and `memory_share` may exceed 1.
Without an accelerator it runs on the CPU, and says so.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved
from bench.shadow_training import CLASSES, OPTIONS, RATE, STEPS, digits
from informed_recon import models, prng, stages
from informed_recon.training import ensemble, full_batch, recipe
from informed_recon.types import Records

SIZES = ((1000, 10), (1000, 100), (1000, 1000), (10_000, 10))  # n, width
COPIED = 1 << 26  # floats


def main(argv):
  del argv
  device = jax.local_devices()[0]
  side = 2048 if device.platform == "cpu" else 8192
  if device.platform == "cpu":
    print(json.dumps(dict(note="no accelerator: these are figures of a CPU")))
  records = digits()
  for n, width in SIZES[:1] if flags.FLAGS.quick else SIZES:
    for products in recipe.PRODUCTS:
      row = measure(records, n, width, side, products)
      print(json.dumps(row), flush=True)
  print(json.dumps(dict(environment=stages.environment())))


@jax.default_matmul_precision("highest")
def measure(
  records: Records, n: int, width: int, side: int, products: str
) -> dict:
  """One row: a block of models of this size."""
  fixed = Records(*(a[:n] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=width))
  spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS, products=products)
  train = recipe.make_train(model, spec, lit=lit)
  many = ensemble.make_ensemble(train, ensemble.Threat())
  root, hparams = prng.root(0), recipe.HParams(RATE)
  targets = Records(*(a[-4096:] for a in records))
  block = ensemble.block_size(many, root, fixed, targets, hparams)
  batch, ids = Records(*(a[:block] for a in targets)), np.arange(block)
  args = jax.device_put((root, fixed, batch, ids.astype(np.int32), hparams))
  square, line = jnp.full((side, side), 0.5), jnp.ones(COPIED)
  square = square.astype(products)
  product = jax.jit(
    lambda a, b: jnp.matmul(a, b, preferred_element_type=jnp.float32)
  )
  copy = jax.jit(lambda a: a + 1)
  seconds = interleaved(
    dict(
      ours=lambda: many(*args).block_until_ready(),
      peak=lambda: product(square, square).block_until_ready(),
      copy=lambda: copy(line).block_until_ready(),
    ),
    5,
  )
  program = full_batch.program(model, spec, n, lit)
  params = model.init(root)

  def steps(count: int):
    """So many gradient steps, one after the other."""

    def one(fixed, target):
      held, given = program.enter(params, fixed, target)
      for _ in range(count):
        grads = program.gradient(held, given, hparams)
        held = jax.tree.map(jnp.subtract, held, grads)
      return held

    run = jax.jit(jax.vmap(one, in_axes=(None, 0)))
    return run.lower(fixed, batch).compile().cost_analysis()

  # The first step begins with zeros, of which the compiler knows.
  fewer, more = steps(2), steps(3)
  flops, moved = (more[k] - fewer[k] for k in ("flops", "bytes accessed"))
  peak = 2 * side**3 / seconds["peak"]
  bandwidth = 8 * COPIED / seconds["copy"]
  least = STEPS * flops / peak
  naive = 4 * n * lit.size * width * STEPS * block / seconds["ours"]
  stats = jax.local_devices()[0].memory_stats() or {}
  return dict(
    case=f"mlp width {width}, n={n}, {products}",
    ours=round(block / seconds["ours"], 2),
    peer=round(block / least, 2),
    ratio=round(least / seconds["ours"], 3),
    unit="models/s",
    memory_share=round(STEPS * moved / bandwidth / seconds["ours"], 3),
    naive_share=round(naive / peak, 3),
    peak_gflops=round(peak / 1e9),
    bandwidth_gb_s=round(bandwidth / 1e9),
    peak_memory_mib=stats.get("peak_bytes_in_use", 0) >> 20,
    block=block,
  )


if __name__ == "__main__":
  app.run(main)
