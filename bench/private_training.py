"""Private models a second: ours, per-record gradients, one at a time, Opacus.

python -m bench.private_training --quick

DP-GD (sampling probability 1) at the public notebook's setting: MLP 784-10-10
ELU, 100 full-batch steps, n fixed records of random pixels and one target. The
loop is the usual one: jitted, one model at a time, the gradient of every record
by vmap, clipped and noised by optax. Opacus runs where it is installed, with
its default of per-record gradients and with its ghost clipping. `error` is the
distance between the trained parameters without noise, RMS(ours - peer) over
RMS(peer - init).
"""

import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from bench import interleaved
from informed_recon import models, prng, stages, tree
from informed_recon.training import ensemble, recipe
from informed_recon.types import Records

_QUICK = flags.DEFINE_bool("quick", False, "one size, few rounds")
FULL_SIZES = ((500, 10), (1000, 10), (1000, 100))  # n, width
SHAPE, CLASSES = (28, 28, 1), 10
STEPS, RATE, MOMENTUM = 100, 0.1, 0.9
CLIP_NORM, NOISE_MULTIPLIER = 1.0, 2.0


def main(argv):
  del argv
  sizes = ((1000, 10),) if _QUICK.value else FULL_SIZES
  for n, width in sizes:
    for row in measure(n, width, count=128, rounds=3 if _QUICK.value else 5):
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
  root = prng.root(0)
  hparams = recipe.HParams(RATE, 0.0, CLIP_NORM, NOISE_MULTIPLIER)
  quiet = hparams._replace(noise_multiplier=0.0)

  def many(mechanism: str):
    spec = recipe.Recipe(
      STEPS, optimizer_options=dict(momentum=MOMENTUM), mechanism=mechanism
    )
    train = loop.make_train(model, spec)
    program = ensemble.make_ensemble(train, ensemble.Threat())
    args = program, root, fixed
    block = ensemble.block_size(*args, targets, hparams)

    def run(hparams=hparams, count=count, block=block):
      some = Records(*(t[:count] for t in targets))
      rows = ensemble.train_blocks(*args, some, ids[:count], hparams, block)
      return np.concatenate(list(rows))

    return run, block

  ours, block = many("dp_sgd")
  plain, _ = many("none")
  loop = jax.jit(per_record_loop(model, fixed, prng.stream(root, "init")))
  some = 4

  def repeat(train, *args):
    """Parameters of `some` models, one at a time."""
    return np.stack(
      [
        np.asarray(
          train(Records(*(t[i] for t in targets)), jax.random.key(i), *args)
        )
        for i in range(some)
      ]
    )

  cases = dict(
    ours=ours,
    plain=plain,
    # One block each, or two of them would be under way.
    one_at_a_time=lambda: [ours(count=1, block=1) for _ in range(some)],
    per_record_gradients=lambda: repeat(loop, NOISE_MULTIPLIER),
  )
  init = model.init(prng.stream(root, "init"))
  quiet_peers = dict(per_record_gradients=repeat(loop, 0.0))
  if importlib.util.find_spec("opacus"):
    for mode in ("hooks", "ghost"):
      train = functools.partial(opacus, fixed, init, mode)
      cases[f"opacus_{mode}"] = functools.partial(
        repeat, train, NOISE_MULTIPLIER
      )
      quiet_peers[f"opacus_{mode}"] = repeat(train, 0.0)
  seconds = interleaved(cases, rounds)
  models_in = dict.fromkeys(cases, some) | dict(ours=count, plain=count)
  rates = {name: models_in[name] / seconds[name] for name in cases}
  mine, start = ours(quiet, some, 1), np.asarray(tree.flatten(init))
  for name in list(cases)[1:]:
    row = dict(
      case=f"dp_sgd, mlp 784-{width}-10, n={n}, {STEPS} steps: {name}",
      ours=round(rates["ours"], 2),
      peer=round(rates[name], 2),
      ratio=round(rates["ours"] / rates[name], 2),
      unit="models/s",
      block=block,
    )
    if name in quiet_peers:
      peer = quiet_peers[name]
      error = np.sqrt(
        np.mean((mine - peer) ** 2) / np.mean((peer - start) ** 2)
      )
      row["error"] = float(error)
    yield row
  if "opacus_hooks" not in cases:
    yield dict(case="opacus", note="not installed: pip install opacus")


def per_record_loop(model, fixed: Records, init_key):
  """One model, every record's gradient held: (target, key, σ) -> (P,)."""

  def loss(params, x, y):
    return recipe.cross_entropy(model.apply(params, x[None]), y[None])[0]

  def train(target, key, noise_multiplier):
    x, y = (jnp.concatenate([f, t[None]]) for f, t in zip(fixed, target))
    optimizer = optax.chain(
      optax.contrib.differentially_private_aggregate(
        CLIP_NORM, noise_multiplier, key
      ),
      optax.sgd(RATE, MOMENTUM),
    )
    params = model.init(init_key)

    def step(carry, _):
      params, state = carry
      each = jax.vmap(jax.grad(loss), (None, 0, 0))(params, x, y)
      updates, state = optimizer.update(each, state, params)
      return (optax.apply_updates(params, updates), state), None

    carry = params, optimizer.init(params)
    (params, _), _ = jax.lax.scan(step, carry, length=STEPS)
    return tree.flatten(params)

  return train


def opacus(fixed, init, mode, target, key, noise_multiplier) -> np.ndarray:
  """The same run in PyTorch; `key` is unused, noise comes from its own seed."""
  del key
  import torch
  from opacus import PrivacyEngine

  x, y = (np.concatenate([f, t[None]]) for f, t in zip(fixed, target))
  x = torch.from_numpy(x.reshape(len(x), -1))
  y = torch.from_numpy(y.astype(np.int64))
  layers = [init["Dense_0"], init["Dense_1"]]
  module = torch.nn.Sequential(
    torch.nn.Linear(*layers[0]["kernel"].shape),
    torch.nn.ELU(),
    torch.nn.Linear(*layers[1]["kernel"].shape),
  )
  with torch.no_grad():
    for layer, values in zip((module[0], module[2]), layers):
      layer.weight.copy_(torch.tensor(np.asarray(values["kernel"]).T))
      layer.bias.copy_(torch.tensor(np.asarray(values["bias"])))
  records = torch.utils.data.TensorDataset(x, y)
  made = PrivacyEngine().make_private(
    module=module,
    optimizer=torch.optim.SGD(module.parameters(), RATE, MOMENTUM),
    data_loader=torch.utils.data.DataLoader(records, batch_size=len(x)),
    criterion=torch.nn.CrossEntropyLoss(),
    noise_multiplier=noise_multiplier,
    max_grad_norm=CLIP_NORM,
    poisson_sampling=False,
    grad_sample_mode=mode,
  )
  wrapped, optimizer = made[:2]
  criterion = made[2] if mode == "ghost" else torch.nn.CrossEntropyLoss()
  for _ in range(STEPS):
    optimizer.zero_grad()
    criterion(wrapped(x), y).backward()
    optimizer.step()
  with torch.no_grad():
    parts = [
      part
      for layer in (module[0], module[2])
      for part in (layer.bias, layer.weight.T)  # in the order of flax
    ]
    return torch.cat([p.ravel() for p in parts]).numpy()


if __name__ == "__main__":
  app.run(main)
