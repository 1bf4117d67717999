"""Shadow training on whatever device there is, against its roofline.

python -m bench.gpu [--quick]

Peak and bandwidth are measured in the same process: a square matrix product as
the row's first layer multiplies, and a pass over a large array. The numbers
other than float32 are `training.products`: each model is trained as its
difference to a base run; `error` is what that costs, RMS(θ - θ of float32) over
RMS(θ of float32 - base). `ratio` is the time of the operations at that peak
over the measured one, `memory_share` that of the bytes at that bandwidth, as
the compiler counts both for a step of a block of models. The larger is the
share of the roofline; where a block lies in a cache, as on a CPU, bytes are no
limit and `memory_share` may exceed 1. `minutes_59000` is how long the paper's
number of shadow models would take at that rate. Without an accelerator it runs
on the CPU, and says so.
"""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved
from bench.shadow_training import CLASSES, OPTIONS, RATE, STEPS, digits
from informed_recon import models, prng, stages
from informed_recon.training import ensemble, first_layer, full_batch, recipe
from informed_recon.types import Records

SIZES = ((1000, 10), (1000, 100), (1000, 1000), (10_000, 10), (10_000, 100))
COPIED = 1 << 28  # floats
PAPER = 59_000  # shadow models
CHUNK = 500  # models a chunk file, so no block is larger


def main(argv):
  del argv
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    print(json.dumps(dict(note="no accelerator: these are figures of a CPU")))
  records, rows = digits(), []
  for n, width in SIZES[:1] if flags.FLAGS.quick else SIZES:
    for row in measure(records, n, width):
      print(json.dumps(row), flush=True)
      rows.append(row)
  rows.append(dict(environment=stages.environment()))
  print(json.dumps(rows[-1]))
  if flags.FLAGS.keep:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    pathlib.Path(flags.FLAGS.keep).write_text(text)


def measure(records: Records, n: int, width: int):
  """A row a kind of number: a block of models of this size."""
  fixed = Records(*(a[:n] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=width))
  root, hparams = prng.root(0), recipe.HParams(RATE)
  targets = Records(*(a[-CHUNK:] for a in records))
  exact = base = None
  for products in recipe.PRODUCTS:
    spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS, products=products)
    train = recipe.make_train(model, spec, lit=lit)
    many = ensemble.make_ensemble(train, ensemble.Threat())
    if exact is None:
      block = ensemble.block_size(many, root, fixed, targets, hparams)
      block = min(block, CHUNK)
      base = ensemble.train_base(train, root, fixed, hparams)
    batch, ids = Records(*(a[:block] for a in targets)), np.arange(block)
    args = jax.device_put((root, fixed, batch, ids.astype(np.int32), hparams))
    seconds = timed(functools.partial(many, *args), products)
    theta = np.asarray(many(*args))
    exact = theta if exact is None else exact
    cost = dict(zip(("flops", "bytes"), counted(model, spec, n, lit, args)))
    yield row(f"mlp width {width}, n={n}, {products}", seconds, cost, block) | (
      dict(
        naive_share=round(
          4 * n * lit.size * width * STEPS * block
          / seconds["ours"] / rate_of_products(seconds), 3
        ),
        error=float(
          np.sqrt(np.mean((theta - exact) ** 2))
          / np.sqrt(np.mean((exact - base) ** 2))
        ),
      )
    )  # fmt: skip


def timed(ours, products: str) -> dict[str, float]:
  """Seconds of a block, of a square product, and of a pass over memory."""
  side = _side()
  square = jax.random.normal(jax.random.key(0), (side, side))
  if products == "bfloat16":
    square = square.astype(products)
  # The second factor as it is kept: rounded once, before training.
  product = jax.jit(lambda a, b: first_layer.shared_product(a, b, products))
  line, copy = jnp.ones(COPIED), jax.jit(lambda a: a + 1)
  with jax.default_matmul_precision("highest"):
    return interleaved(
      dict(
        ours=lambda: ours().block_until_ready(),
        product=lambda: product(square, square).block_until_ready(),
        copy=lambda: copy(line).block_until_ready(),
      ),
      3,
    )


def counted(model, spec, n: int, lit, args) -> tuple[float, float]:
  """Operations and bytes of a step of a block, as the compiler counts them."""
  root, fixed, batch, _, hparams = args
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
    lowered = run.lower(fixed, batch)
    untried = {"xla_gpu_autotune_level": "0"}
    return lowered.compile(compiler_options=untried).cost_analysis()

  # The first step begins with zeros, of which the compiler knows.
  fewer, more = steps(2), steps(3)
  return tuple(more[k] - fewer[k] for k in ("flops", "bytes accessed"))


def row(case: str, seconds: dict, cost: dict, block: int) -> dict:
  peak = rate_of_products(seconds)
  bandwidth = 8 * COPIED / seconds["copy"]
  least, models_a_second = STEPS * cost["flops"] / peak, block / seconds["ours"]
  stats = jax.local_devices()[0].memory_stats() or {}
  return dict(
    case=case,
    ours=round(models_a_second, 2),
    peer=round(block / least, 2),
    ratio=round(least / seconds["ours"], 3),
    unit="models/s",
    memory_share=round(STEPS * cost["bytes"] / bandwidth / seconds["ours"], 3),
    minutes_59000=round(PAPER / models_a_second / 60, 2),
    peak_gflops=round(peak / 1e9),
    bandwidth_gb_s=round(bandwidth / 1e9),
    peak_memory_mib=stats.get("peak_bytes_in_use", 0) >> 20,
    block=block,
  )


def rate_of_products(seconds: dict) -> float:
  return 2 * _side() ** 3 / seconds["product"]


def _side() -> int:
  return 2048 if jax.local_devices()[0].platform == "cpu" else 8192


if __name__ == "__main__":
  app.run(main)
