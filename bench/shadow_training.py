"""Shadow models a second: ours, copied-data vmap, one model at a time.

python -m bench.shadow_training --quick

The setting is the public notebook's (MLP 784-10-10 ELU, 100 full-batch steps)
on n fixed records of random pixels: the rate does not depend on their values.
`error` compares the trained parameters with the peer's, relative to what the
attack reads: RMS(ours - peer) / RMS(peer - base), base = no target at all.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved
from informed_recon import models, prng, stages, tree
from informed_recon.training import ensemble, recipe
from informed_recon.types import Records

_QUICK = flags.DEFINE_bool("quick", False, "one size, few rounds")
FULL_SIZES = ((500, 10), (1000, 10), (1000, 100), (10_000, 10))  # n, width
SHAPE, CLASSES = (28, 28, 1), 10


def main(argv):
  del argv
  sizes = ((1000, 10),) if _QUICK.value else FULL_SIZES
  rounds = 3 if _QUICK.value else 5
  for n, width in sizes:
    for row in measure(n, width, count=256 if n <= 1000 else 32, rounds=rounds):
      print(json.dumps(row), flush=True)
  print(json.dumps(dict(environment=stages.environment())))


def measure(n: int, width: int, count: int, rounds: int):
  """Rows for `count` models on n fixed records."""
  rng = np.random.default_rng(0)

  def records(size: int) -> Records:
    # Two thirds of MNIST's pixels are dark: sparse like it, but random.
    x = rng.random((size, *SHAPE), np.float32)
    x *= rng.random((size, *SHAPE)) < 0.2
    return Records(x, rng.integers(CLASSES, size=size, dtype=np.int32))

  fixed, targets, ids = records(n), records(count), np.arange(count)
  model = models.build("mlp", CLASSES, SHAPE, dict(width=width))
  spec = recipe.Recipe(optimizer_options=dict(momentum=0.9))
  hparams, root = recipe.HParams(0.1), prng.root(0)
  train = recipe.make_train(model, spec)
  many = ensemble.make_ensemble(train, ensemble.Threat())
  block = ensemble.block_size(many, root, fixed, targets, hparams)
  base = ensemble.train_base(train, root, fixed, hparams)

  def ours():
    blocks = ensemble.train_blocks(
      many, root, fixed, targets, ids, hparams, block
    )
    return np.concatenate(list(blocks))

  keys = recipe.Keys(prng.stream(root, "init"), prng.stream(root, "order"))

  def whole(data: Records):
    """Trains on a model's own copy of the data, the target in its last row."""
    return tree.flatten(train(keys, data, None, hparams))

  def append(target: Records) -> Records:
    return Records(
      *(jnp.concatenate([f, t[None]]) for f, t in zip(fixed, target))
    )

  copied_step = jax.jit(lambda batch: jax.vmap(whole)(jax.vmap(append)(batch)))
  single_step = jax.jit(lambda target: whole(append(target)))

  def copied():
    return np.concatenate(
      [
        np.asarray(copied_step(Records(*(t[i : i + block] for t in targets))))
        for i in range(0, count, block)
      ]
    )

  some = max(8, count // 16)

  def one_by_one():
    return np.stack(
      [
        np.asarray(single_step(Records(*(t[i] for t in targets))))
        for i in range(some)
      ]
    )

  side = 2048
  square = jnp.ones((side, side)) * 0.5
  product = jax.jit(jnp.matmul)

  def peak():
    product(square, square).block_until_ready()

  seconds = interleaved(
    dict(ours=ours, copied=copied, one_by_one=one_by_one, peak=peak), rounds
  )
  rate = count / seconds["ours"]
  rates = dict(
    copied_data_vmap=count / seconds["copied"],
    one_model_at_a_time=some / seconds["one_by_one"],
  )
  mine = ours()
  peers = dict(copied_data_vmap=copied(), one_model_at_a_time=one_by_one())
  case = f"mlp 784-{width}-10, n={n}, 100 steps"
  for name, peer in peers.items():
    signal = np.sqrt(np.mean((peer - base) ** 2))
    error = np.sqrt(np.mean((mine[: len(peer)] - peer) ** 2))
    yield dict(
      case=f"{case}: {name}",
      ours=round(rate, 2),
      peer=round(rates[name], 2),
      ratio=round(rate / rates[name], 2),
      unit="models/s",
      error=float(error / signal),
      block=block,
    )
  # Counted: forward and kernel gradient of the first layer, 2·2·n·d·H a step;
  # the rest of this network is under 2% of that.
  flops = rate * 100 * 4 * n * np.prod(SHAPE) * width
  limit = 2 * side**3 / seconds["peak"]
  yield dict(
    case=f"{case}: share of the matrix-product peak",
    ours=round(flops / 1e9, 1),
    peer=round(limit / 1e9, 1),
    ratio=round(flops / limit, 3),
    unit="GFLOP/s",
  )


if __name__ == "__main__":
  app.run(main)
