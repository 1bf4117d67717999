"""Shadow training on whatever device there is, against its roofline.

python -m bench.gpu [--quick]

Peak and bandwidth are measured in the same process (a square matrix product in
the precision that training uses, and a pass over a large array). `ratio` is the
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
    print(json.dumps(measure(records, n, width, side)), flush=True)
  print(json.dumps(dict(environment=stages.environment())))


def measure(records: Records, n: int, width: int, side: int) -> dict:
  """One row: a block of models of this size."""
  fixed = Records(*(a[:n] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=width))
  spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS)
  train = recipe.make_train(model, spec, lit=lit)
  many = ensemble.make_ensemble(train, ensemble.Threat())
  root, hparams = prng.root(0), recipe.HParams(RATE)
  targets = Records(*(a[-4096:] for a in records))
  block = ensemble.block_size(many, root, fixed, targets, hparams)
  batch, ids = Records(*(a[:block] for a in targets)), np.arange(block)
  args = jax.device_put((root, fixed, batch, ids.astype(np.int32), hparams))
  square, line = jnp.full((side, side), 0.5), jnp.ones(COPIED)
  product, copy = jax.jit(jnp.matmul), jax.jit(lambda a: a + 1)
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

  def step(fixed, batch, held):
    """One gradient; what is computed once does not count."""
    _, given = jax.vmap(lambda t: program.enter(params, fixed, t))(batch)
    return jax.vmap(lambda h, g: program.gradient(h, g, hparams))(held, given)

  def once(fixed, batch):
    return jax.vmap(lambda t: program.enter(params, fixed, t))(batch)

  held, _ = once(fixed, batch)
  counts = [
    jax.jit(run).lower(*inputs).compile().cost_analysis()
    for run, inputs in ((step, (fixed, batch, held)), (once, (fixed, batch)))
  ]
  flops, moved = (
    counts[0][name] - counts[1][name] for name in ("flops", "bytes accessed")
  )
  peak = 2 * side**3 / seconds["peak"]
  bandwidth = 8 * COPIED / seconds["copy"]
  least = STEPS * flops / peak
  naive = 4 * n * lit.size * width * STEPS * block / seconds["ours"]
  stats = jax.local_devices()[0].memory_stats() or {}
  return dict(
    case=f"mlp {lit.size}-{width}-10, n={n}",
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
