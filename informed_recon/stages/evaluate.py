"""Scores every attack in `attacks/*.npz`, and the baselines, on the targets."""

import math
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon import (
  baselines,
  files,
  metrics,
  models,
  prng,
  roc,
  store,
  tree,
)
from informed_recon.stages import Experiment
from informed_recon.training import classifier
from informed_recon.types import UserError

METRICS = ("mse", "mae", "psnr", "ssim", "kl")


def check(experiment: Experiment) -> None:
  settings, targets = experiment.config.evaluation, experiment.split.targets
  _judge_model(experiment)
  judge = settings.classifier
  if min(judge.epochs, judge.batch_size) < 1:
    raise UserError(
      "evaluation.classifier needs epochs and batch_size of at least 1, "
      f"got {judge.epochs} and {judge.batch_size}"
    )
  if settings.ridge_shadows < 2:
    raise UserError(
      "evaluation.ridge_shadows must be at least 2, "
      f"got {settings.ridge_shadows}"
    )
  if not all(0 < fpr < 1 for fpr in settings.fpr):
    raise UserError(
      f"evaluation.fpr must lie between 0 and 1, got {settings.fpr}"
    )
  if len(targets) < 2:
    raise UserError(
      "split.targets must be at least 2: a false positive is a target's "
      "reconstruction from another one's weights"
    )


def run(experiment: Experiment) -> None:
  """Leaves `evaluation/results.json`, `per_target.npz`, `guesses.npz`."""
  directory = experiment.workdir / "evaluation"
  attacks = {
    path.stem: files.read_arrays(path)["x"]
    for path in sorted((experiment.workdir / "attacks").glob("*.npz"))
  }
  if (directory / "results.json").exists():
    return
  settings = experiment.config.evaluation
  truth, held = experiment.records("targets").x, experiment.held()
  with tqdm(total=5 + len(attacks), desc="evaluate", unit="step") as bar:

    def done(what: str) -> None:
      bar.set_postfix_str(what)
      bar.update()

    accuracy = _released_accuracy(experiment)
    done("released models' accuracy")
    judge = _judge(experiment)
    done("judge")
    oracle = baselines.nearest_neighbour_oracle(truth, held.x)
    done("nearest-neighbour oracle")
    ridge = baselines.ridge(
      store.open_rows(experiment.workdir / "shadow"),
      experiment.records("shadow").x,
      shadows=settings.ridge_shadows,
    )
    released = store.open_rows(experiment.workdir / "released").all()
    done("ridge")
    guesses = dict(
      nearest_neighbour_oracle=held.x[oracle.index],
      mean_image=baselines.mean_image(held.x, len(truth)),
      ridge=ridge(released, experiment.dataset.shape),
    )
    per_target, rows = {}, {}
    for name, guess in (guesses | attacks).items():
      errors = metrics.per_target(truth, guess, judge)
      per_target |= {f"{name}/{k}": v for k, v in errors.items()}
      row = summary(errors)
      if name != "nearest_neighbour_oracle":
        row |= _success(errors["mse"], oracle.mse, settings.eta)
      if name == "ridge" or name in attacks:  # they depend on the weights
        row |= _tpr(truth, guess, settings.fpr)
      rows[name] = row
      if name in attacks:
        done(name)
    done("baselines")
  files.write_arrays(
    directory / "per_target.npz", oracle_index=oracle.index, **per_target
  )
  files.write_arrays(directory / "guesses.npz", **guesses)
  files.write_json(
    directory / "results.json",
    dict(
      attacks={name: rows[name] for name in attacks},
      baselines={name: rows[name] for name in guesses},
      released_model=accuracy,
      privacy=dict(mechanism="none", epsilon=None),
    ),
  )


def summary(errors: Mapping[str, np.ndarray]) -> dict:
  """Means with 95% intervals, and the median error, as JSON values."""
  row = dict(targets=len(errors["mse"]))
  row["mse_median"] = float(np.median(errors["mse"]))
  for name in METRICS:
    if np.isnan(errors[name]).any():
      row[f"{name}_mean"] = row[f"{name}_mean_ci95"] = None
      continue
    mean, interval = metrics.mean_ci95(errors[name])
    row[f"{name}_mean"], row[f"{name}_mean_ci95"] = mean, list(interval)
  return row


def _success(mse: np.ndarray, oracle: np.ndarray, eta: float) -> dict:
  """Success: nearer to the target than anything the adversary held."""
  rate, interval = metrics.mean_ci95(np.float64(mse < oracle))
  eta_rate, eta_interval = metrics.mean_ci95(np.float64(mse <= eta))
  return dict(
    success_rate=rate,
    success_rate_ci95=list(interval),
    success_at_eta=dict(eta=eta, rate=eta_rate, rate_ci95=list(eta_interval)),
  )


def _tpr(truth: np.ndarray, guess: np.ndarray, fprs: tuple[float, ...]) -> dict:
  own, null = roc.errors(truth, guess)
  return dict(
    tpr_at_fpr={f"{f:g}": roc.tpr_at_fpr(own, null, f) for f in fprs},
    tpr_at_fpr_ci95={
      f"{f:g}": list(roc.tpr_at_fpr_ci95(own, null, f)) for f in fprs
    },
  )


def _released_accuracy(experiment: Experiment) -> dict:
  """Accuracy of the released models on records nobody trained on."""
  x, y = map(jnp.asarray, experiment.records("accuracy"))
  like = jax.eval_shape(experiment.model.init, experiment.key)

  @jax.jit
  def accuracy(rows):
    def one(row):
      logits = experiment.model.apply(tree.unflatten(row, like), x)
      return jnp.mean(jnp.argmax(logits, 1) == y)

    return jax.lax.map(one, rows, batch_size=32)

  released = store.open_rows(experiment.workdir / "released").all()
  mean, interval = metrics.mean_ci95(np.asarray(accuracy(released), float))
  return dict(
    test_accuracy_mean=mean,
    test_accuracy_mean_ci95=list(interval),
    parameters=experiment.model.num_params,
    models=len(released),
    records=math.prod(y.shape),
  )


def _judge_model(experiment: Experiment) -> models.Model:
  spec = experiment.config.evaluation.classifier
  return models.build(
    spec.name,
    experiment.dataset.num_classes,
    experiment.dataset.shape,
    spec.options.to_dict(),
  )


def _judge(experiment: Experiment) -> Callable[[np.ndarray], np.ndarray]:
  spec = experiment.config.evaluation.classifier.to_dict()
  del spec["name"], spec["options"]
  return classifier.fit(
    _judge_model(experiment),
    classifier.Classifier(**spec),
    experiment.held(),
    prng.stream(experiment.key, "judge"),
  )
