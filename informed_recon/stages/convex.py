"""Fits convex models to their optimum, one a target, and inverts each."""

import numpy as np
from tqdm import tqdm

from informed_recon import files, metrics
from informed_recon.attacks import convex as attack
from informed_recon.stages import Experiment
from informed_recon.training import convex as training
from informed_recon.training import convex_many
from informed_recon.types import UserError

CLASSIFIERS = ("logistic", "softmax", "squared_hinge")


def check(experiment: Experiment) -> None:
  family, classes = (
    experiment.config.convex.family,
    experiment.dataset.num_classes,
  )
  if (family in CLASSIFIERS) != (classes > 0):
    raise UserError(
      f"convex.family {family!r} does not fit data set "
      f"{experiment.dataset.name!r} with {classes or 'no'} classes"
    )
  if family in ("logistic", "squared_hinge") and classes != 2:
    raise UserError(f"convex.family {family!r} needs 2 classes, not {classes}")


def run(experiment: Experiment) -> None:
  """Leaves `convex/part-*.npz` (the released models), `attacks/convex.npz`
  and `released_model.json`."""
  weights, intercept = _released(experiment)
  about_path = experiment.workdir / "released_model.json"
  if not about_path.exists():
    files.write_json(about_path, _about(experiment, weights, intercept))
  out = experiment.workdir / "attacks/convex.npz"
  if not out.exists():
    files.write_arrays(out, **_attack(experiment, weights, intercept))


def _released(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
  """Released models, weights (M, K, d) and intercepts (M, K), float64."""
  config = experiment.config.convex
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  size = experiment.config.perf.convex_chunk
  classes = experiment.dataset.num_classes
  parts, fit_many = [], None
  for i, start in enumerate(
    tqdm(range(0, len(targets.y), size), desc="fit", unit="chunk")
  ):
    path = experiment.workdir / "convex" / f"part-{i:05d}.npz"
    if not path.exists():
      # What all targets share is computed once, and only where it is needed.
      fit_many = fit_many or convex_many.make_fit_many(
        config.family,
        _flat(fixed.x),
        training.encode(config.family, fixed.y, classes),
        l2=config.l2,
        penalise_intercept=config.penalise_intercept,
        chunk=size,
      )
      some = slice(start, start + size)
      fitted = fit_many(
        _flat(targets.x[some]),
        training.encode(config.family, targets.y[some], classes),
      )
      files.write_arrays(
        path, weights=fitted.weights, intercept=fitted.intercept
      )
      experiment.log(
        stage="convex",
        models=start + len(fitted.weights),
        of=len(targets.y),
        worst_gradient=float(np.max(fitted.gradient)),
      )
    parts.append(files.read_arrays(path))
  return tuple(
    np.concatenate([p[name] for p in parts])
    for name in ("weights", "intercept")
  )


def _attack(experiment: Experiment, weights, intercept) -> dict:
  """The closed form on every released model.

  Where the attack says that it cannot tell, its answer is what an adversary
  would guess without it: the mean of what it holds.
  """
  config, fixed = experiment.config.convex, experiment.records("fixed")
  classes = experiment.dataset.num_classes
  found = attack.reconstruct_many(
    config.family,
    weights,
    intercept,
    _flat(fixed.x),
    fixed.y,
    l2=config.l2,
    penalise_intercept=config.penalise_intercept,
    label_set=range(classes) if classes else None,
  )
  identifiable = np.array([r.identifiable for r in found])
  guess = _flat(experiment.held().x).mean(0)
  x = np.stack([r.x if r.identifiable else guess for r in found])
  return dict(
    x=x.reshape(-1, *experiment.dataset.shape),
    y=np.array([r.y for r in found]).reshape(len(found)),
    identifiable=identifiable,
    residual=np.array([r.residual for r in found]),
  )


def _about(experiment: Experiment, weights, intercept) -> dict:
  """Accuracy of the released models, and what the report says of them."""
  family = experiment.config.convex.family
  x, y = experiment.records("accuracy")
  accuracy = interval = None
  if family in CLASSIFIERS and len(y):
    scores = np.einsum("mkd,nd->mnk", weights, _flat(x)) + intercept[:, None]
    guess = scores.argmax(2) if scores.shape[2] > 1 else scores[..., 0] > 0
    accuracy, interval = metrics.mean_ci95((guess == y).mean(1))
  return dict(
    test_accuracy_mean=accuracy,
    test_accuracy_mean_ci95=interval and list(interval),
    model=f"{family} regression",
    parameters=weights[0].size + intercept[0].size,
    models=len(weights),
    adversary_knows="and the objective that was minimised",
  )


def _flat(x: np.ndarray) -> np.ndarray:
  return x.reshape(len(x), -1).astype(np.float64)
