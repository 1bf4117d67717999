"""Shadow training on whatever device there is, against its roofline.

python -m bench.gpu [--quick] [--size=I] [--keep=FILE]

Rows are sizes of the public notebook's network by kinds of number
(`training.products`; with the shorter ones each model is trained as its
difference to a base run). The peer is the jitted vmap of the training as it is
written, all in float32, and `error` the distance from where it ends:
RMS(ours - peer) / RMS(peer - base).

Peak and bandwidth are measured in the same process: a square matrix product as
the row's first layer multiplies, and a pass over a large array. Shares of that
peak are `products_share` (what the first layer has to do), `naive_share` (4 n d
H operations a step: all of X twice) and `counted_share` (what the compiler
counts in a step); `memory_share` is that of the bytes it counts. The larger one
is the share of the roofline; where a block lies in a cache, as on a CPU, bytes
are no limit and `memory_share` may exceed 1. `seconds_59000` is how long the
paper's number of shadow models takes at that rate. Without an accelerator it
runs on the CPU, and says so.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved, printed
from bench.shadow_training import CLASSES, OPTIONS, RATE, STEPS, digits
from informed_recon import models, prng
from informed_recon.training import ensemble, fast, loop, recipe
from informed_recon.training.fast import first_layer
from informed_recon.training.mechanisms import none
from informed_recon.training.recipe import PRODUCTS
from informed_recon.types import Records

_SIZE = flags.DEFINE_integer("size", -1, "of SIZES, this one alone")
SIZES = ((1000, 10), (10_000, 10), (1000, 100), (10_000, 100))  # n, width
PAPER = 59_000  # shadow models
CHUNK = 500  # models a chunk file, so no block is larger


def main(argv):
  del argv
  if _on_cpu():
    print(json.dumps(dict(note="no accelerator: these are figures of a CPU")))
  sizes = SIZES[:1] if flags.FLAGS.quick else SIZES
  if _SIZE.value >= 0:
    sizes = SIZES[_SIZE.value : _SIZE.value + 1]
  records = digits(max(n for n, _ in sizes) + CHUNK)
  rows = (row for size in sizes for row in measure(records, *size))
  printed(rows, flags.FLAGS.keep)


def measure(records: Records, n: int, width: int):
  """A row a kind of number: a block of models of this size."""
  fixed = Records(*(a[:n] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=width))
  root, hparams = prng.root(0), recipe.HParams(RATE)
  targets = Records(*(a[-CHUNK:] for a in records))

  def ensemble_of(gradient=None, **options):
    spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS, **options)
    train = loop.make_train(model, spec, lit=lit, gradient=gradient)
    return spec, train, ensemble.make_ensemble(train, ensemble.Threat())

  _, train, many = ensemble_of()
  block = ensemble.block_size(many, root, fixed, targets, hparams)
  block = min(block, CHUNK)
  base = ensemble.train_base(train, root, fixed, hparams)
  ids = np.arange(block, dtype=np.int32)
  args = root, fixed, Records(*(a[:block] for a in targets)), ids, hparams
  args = jax.device_put(args)
  *_, plain = ensemble_of(gradient=none.make(model, recipe.Recipe(STEPS)))
  exact = np.asarray(plain(*args))
  ways = {products: ensemble_of(products=products) for products in PRODUCTS}
  for products, (spec, _, many) in ways.items():
    seconds = timed(
      dict(
        ours=functools.partial(many, *args),
        plain=functools.partial(plain, *args),
      ),
      products,
    )
    peak = 2 * _side() ** 3 / seconds["product"]
    bandwidth = 8 * _copied() / seconds["copy"]
    rate = block / seconds["ours"]
    program = fast.program(model, spec, n, lit)
    flops, moved = counted(program, model.init(root), args)
    d = lit.size
    forms = first_layer.Dense(lit.ravel()), first_layer.Span()
    least = min(form.operations(n, d, STEPS) for form in forms) * width
    theta = np.asarray(many(*args))
    yield dict(
      case=f"mlp width {width}, n={n}, {products}",
      ours=round(rate, 2),
      peer=round(block / seconds["plain"], 2),
      ratio=round(seconds["plain"] / seconds["ours"], 2),
      unit="models/s",
      error=float(
        np.sqrt(np.mean((theta - exact) ** 2) / np.mean((exact - base) ** 2))
      ),
      seconds_59000=round(PAPER / rate, 1),
      products_share=round(rate * least / peak, 3),
      naive_share=round(4 * n * d * width * STEPS * rate / peak, 3),
      counted_share=round(STEPS * flops / peak / seconds["ours"], 3),
      memory_share=round(STEPS * moved / bandwidth / seconds["ours"], 3),
      peak_gflops=round(peak / 1e9),
      bandwidth_gb_s=round(bandwidth / 1e9),
      block=block,
    )


def timed(runs: dict, products: str) -> dict[str, float]:
  """Seconds of each run, of a square product, and of a pass over memory."""
  side = _side()
  square = jax.random.normal(jax.random.key(0), (side, side))
  # The second factor as it is kept, in that number already.
  kept = square.astype("bfloat16" if products == "bfloat16" else "float32")
  line, copy = jnp.ones(_copied()), jax.jit(lambda a: a + 1)

  @jax.jit
  @jax.default_matmul_precision("highest")
  def product(a, b):
    return first_layer.shared_product(a, b, products)

  cases = dict(
    **runs, product=lambda: product(square, kept), copy=lambda: copy(line)
  )

  def waiting(run):
    return lambda: jax.block_until_ready(run())

  return interleaved({k: waiting(run) for k, run in cases.items()}, 3)


@jax.default_matmul_precision("highest")
def counted(program: fast.Program, params, args) -> tuple[float, float]:
  """Operations and bytes of a step of a block, as the compiler counts them."""
  _, fixed, batch, _, hparams = args

  def steps(count: int):
    """So many gradient steps, one after the other."""

    def one(fixed, target):
      held, given = program.enter(params, fixed, target)
      for _ in range(count):
        grads = program.gradient(held, given, hparams)
        held = jax.tree.map(jnp.subtract, held, grads)
      return held

    run = jax.jit(jax.vmap(one, in_axes=(None, 0)))
    untried = {"xla_gpu_autotune_level": "0"}
    compiled = run.lower(fixed, batch).compile(compiler_options=untried)
    return compiled.cost_analysis()

  # The first step begins with zeros, of which the compiler knows.
  fewer, more = steps(2), steps(3)
  return tuple(more[k] - fewer[k] for k in ("flops", "bytes accessed"))


def _side() -> int:
  return 2048 if _on_cpu() else 8192


def _copied() -> int:
  """Floats of the pass over memory."""
  return 1 << (26 if _on_cpu() else 28)


def _on_cpu() -> bool:
  return jax.local_devices()[0].platform == "cpu"


if __name__ == "__main__":
  app.run(main)
