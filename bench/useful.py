"""What released networks of `cifar10_useful` can give away at their best.

python -m bench.useful [--quick] [--targets=32] [--keep=FILE]

Every target's model is trained as the config says, with initial weights and
batch order of its own. At the release, with the truth in hand,

  left        ‖r‖ / ‖∇ℓ‖, r = G - ∇ℓ(θ; x, y) what training left of the gradient
  least_squares   MSE of x + J⁺r, J = ∂∇ℓ/∂x: where the stationarity attack
              ends that starts at the record itself and knows its label, to
              first order; `shrunk`: the same with the known records' mean and
              variance for a prior, r taken for white noise
  oracle      MSE of the nearest known record
  exact_below the largest share of r at which `least_squares` is below the
              oracle: how much nearer training would have to end

No attack is run: J costs as much as one. Pixels are cut to [0, 1]. A run that
is killed goes on with the next target of the same FILE.
"""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy import linalg

from bench import resumed
from informed_recon import experiment as experiments
from informed_recon import tree
from informed_recon.attacks.stationarity import linear, missing
from informed_recon.attacks.stationarity import problem as problems
from informed_recon.evaluation import baselines
from informed_recon.training import ensemble
from informed_recon.training.recipe import cross_entropy
from informed_recon.types import Records

_TARGETS = flags.DEFINE_integer("targets", 32, "released models")
flags.DEFINE_bool("quick", False, "two targets of the config's quick form")
flags.DEFINE_string("keep", "", "file for the rows as well")


def main(argv):
  del argv
  quick = flags.FLAGS.quick
  module = importlib.import_module("configs.cifar10_useful")
  config = module.get_config("quick" if quick else "")
  count = 2 if quick else _TARGETS.value
  study = functools.cache(lambda: prepared(config))
  resumed(
    {f"target {i}": lambda i=i: measured(*study(), i) for i in range(count)},
    flags.FLAGS.keep,
  )


def prepared(config):
  """(experiment, its training of one model, the loss of one record)."""
  experiment = experiments.build(config, "runs/useful")  # writes nothing
  model, threat = experiment.model(), ensemble.Threat(**config.threat)
  train = jax.jit(ensemble.make_one(experiment.train(), threat))

  def loss(params, x, y):
    return cross_entropy(model.apply(params, x[None]), y[None])[0]

  return experiment, train, loss


def measured(experiment, train, loss, number: int) -> dict:
  fixed, new = (experiment.records(part) for part in ("fixed", "accuracy"))
  x, y = (a[number] for a in experiment.records("targets"))
  _, hparams = experiment.training()
  i, model = experiment.split.targets[number], experiment.model()
  row = train(experiment.key, fixed, Records(x, y), np.uint32(i), hparams)
  params = tree.unflatten(row, jax.eval_shape(model.init, experiment.key))
  share_right = [
    float(np.mean(_predicted(model, params, r.x) == r.y)) for r in (new, fixed)
  ]
  problem = problems.check(
    loss, params, *fixed, l2=hparams.l2, labels=None, bounds=(0.0, 1.0)
  )
  unknown = problems.Unknown(x.shape, x.size, None)
  value, normal, project, _ = linear.products(loss, unknown)
  with jax.enable_x64(True):
    here = problem.params, jnp.float64(x.ravel()), jnp.asarray(y)
    own = np.asarray(value(*here))
    left = np.asarray(missing.gradient(problem)) - own
    matrix = np.asarray(normal(*here))
    toward = np.asarray(project(*here, jnp.asarray(left[None])))[0]
  values, vectors = linalg.eigh(matrix)
  along = vectors.T @ toward
  known = fixed.x.reshape(len(fixed.x), -1)
  noise = left @ left / len(left) / known.var(0).mean()
  back = vectors.T @ (known.mean(0) - x.ravel())
  moves = dict(
    least_squares=along / values,
    shrunk=(along + noise * back) / (values + noise),
  )
  moves = {name: vectors @ move for name, move in moves.items()}
  oracle = baselines.nearest_neighbour_oracle(x[None], fixed.x).mse[0]

  def mse(move):
    if not np.isfinite(move).all():  # training failed: J is 0
      return None
    moved = np.clip(x.ravel() + move, 0, 1)
    return float(np.mean((moved - x.ravel()) ** 2))

  shares = 10.0 ** np.arange(-6, 0.01, 0.1)
  errors = [mse(s * moves["least_squares"]) for s in shares]
  below = [s for s, e in zip(shares, errors) if e is not None and e < oracle]
  return dict(
    test_accuracy=share_right[0],
    train_accuracy=share_right[1],
    own_gradient=float(np.linalg.norm(own)),
    left=float(np.linalg.norm(left) / np.linalg.norm(own)),
    condition=float(np.sqrt(values[-1] / max(values[0], 1e-300))),
    oracle=float(oracle),
    mean_record=mse(back),
    exact_below=float(max(below, default=0.0)),
  ) | {name: mse(move) for name, move in moves.items()}


def _predicted(model, params, x) -> np.ndarray:
  apply = jax.jit(model.apply)
  parts = np.array_split(x, max(len(x) // 500, 1))
  return np.concatenate([apply(params, part).argmax(-1) for part in parts])


if __name__ == "__main__":
  app.run(main)
