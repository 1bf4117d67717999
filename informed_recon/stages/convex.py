"""Fits convex models to their optimum, one a target, and inverts each.

With `convex.noise` the coefficients are released with Gaussian noise (output
perturbation, Chaudhuri, Monteleoni and Sarwate 2011), which
`attacks.convex.noisy` knows how to answer,
beside the closed form.
"""

import math
from collections.abc import Sequence

import jax
import numpy as np
from tqdm import tqdm

from informed_recon import prng
from informed_recon.attacks.convex import closed_form as attack
from informed_recon.attacks.convex import fitting, fitting_many, noisy
from informed_recon.dp import accounting
from informed_recon.evaluation import metrics
from informed_recon.experiment import Experiment
from informed_recon.storage import answers, files
from informed_recon.types import Answers, Reconstruction, UserError

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
  l2 = experiment.config.convex.l2
  if not 0 <= l2 < math.inf:
    raise UserError(f"convex.l2 must be at least 0 and finite, got {l2}")
  noise, config = experiment.config.convex.noise, experiment.config.convex
  if not 0 <= noise < math.inf:
    raise UserError(f"convex.noise must lie in [0, inf), got {noise}")
  if noise and (
    family not in ("softmax", "logistic")
    or not (config.penalise_intercept and config.l2 > 0)
  ):
    raise UserError(
      "convex.noise wants family 'softmax' or 'logistic', a positive l2 and "
      "penalise_intercept=True, without which its guarantee is unknown"
    )
  if family in ("logistic", "squared_hinge") and classes != 2:
    raise UserError(f"convex.family {family!r} needs 2 classes, not {classes}")


def run(experiment: Experiment) -> None:
  """Leaves `convex/part-*.npz` (the models at their optimum), `attacks/
  convex.npz`, with noise `attacks/convex_noisy.npz` and the Fisher-information
  floor `convex/fisher.npz`, and `released_model.json`."""
  optimum = _fitted(experiment)
  released = _perturbed(experiment, *optimum)
  workdir, with_noise = experiment.workdir, experiment.config.convex.noise > 0
  floors = workdir / "convex/fisher.npz"
  if not answers.intact(workdir, "convex"):
    said = _answers(experiment, _closed_form(experiment, *released))
    answers.write(workdir, "convex", answers.Attack("convex", said))
  if with_noise and not (
    answers.intact(workdir, "convex_noisy") and files.arrays_intact(floors)
  ):
    found, floor = _noisy(experiment, optimum, released)
    files.write_arrays(floors, mse=floor)
    # A probable record is a better answer than the mean where it is unsure.
    said = _answers(experiment, found)
    said = said._replace(x=said.unguarded, unguarded=None)
    answers.write(workdir, "convex_noisy", answers.Attack("convex_noisy", said))

  def about() -> dict:
    said = _about(experiment, *released)
    if with_noise:
      floor = float(np.median(files.read_arrays(floors)["mse"]))
      said |= dict(privacy=_privacy(experiment), fisher_mse_median=floor)
    return said

  files.kept_sealed(workdir / "released_model.json", about)


def _fitted(experiment: Experiment) -> tuple[np.ndarray, np.ndarray]:
  """Models at their optimum: weights (M, K, d), intercepts (M, K), float64."""
  config = experiment.config.convex
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  size = experiment.config.perf.convex_chunk
  classes = experiment.dataset.num_classes
  parts, fit_many = [], None
  for i, start in enumerate(
    tqdm(range(0, len(targets.y), size), desc="fit", unit="chunk")
  ):
    path = experiment.workdir / "convex" / f"part-{i:05d}.npz"
    if not files.arrays_intact(path):
      # What all targets share is computed once, and only where it is needed.
      fit_many = fit_many or fitting_many.make_fit_many(
        config.family,
        _flat(fixed.x),
        fitting.encode(config.family, fixed.y, classes),
        l2=config.l2,
        penalise_intercept=config.penalise_intercept,
        chunk=size,
      )
      some = slice(start, start + size)
      fitted = fit_many(
        _flat(targets.x[some]),
        fitting.encode(config.family, targets.y[some], classes),
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


def _perturbed(experiment: Experiment, weights, intercept):
  """The released coefficients; noise is drawn by the target's global id."""
  noise = experiment.config.convex.noise
  if not noise:
    return weights, intercept
  key = prng.stream(experiment.key, "noise")

  def draw(target):
    shape = (weights.shape[1], weights.shape[2] + 1)
    return jax.random.normal(jax.random.fold_in(key, target), shape, np.float64)

  with jax.enable_x64(True):
    ids = experiment.split.targets.astype(np.uint32)
    drawn = noise * np.asarray(jax.vmap(draw)(ids))
  return weights + drawn[..., :-1], intercept + drawn[..., -1]


def _objective(experiment: Experiment) -> dict:
  """What the attacks know of the objective."""
  config, classes = experiment.config.convex, experiment.dataset.num_classes
  return dict(
    l2=config.l2,
    penalise_intercept=config.penalise_intercept,
    label_set=range(classes) if classes else None,
  )


def _answers(
  experiment: Experiment, found: Sequence[Reconstruction]
) -> Answers:
  """An attack's answers. Where it says that it cannot tell, that is what an
  adversary would guess without it, the mean of the records it knows."""
  guess = _flat(experiment.adversary_records().x).mean(0)
  x = np.stack([r.x if r.identifiable else guess for r in found])
  computed = np.stack([r.x for r in found])
  return Answers(
    x=x.reshape(-1, *experiment.dataset.shape),
    unguarded=computed.reshape(-1, *experiment.dataset.shape),
    y=np.array([r.y for r in found]).reshape(len(found)),
    identifiable=np.array([r.identifiable for r in found]),
    residual=np.array([r.residual for r in found]),
  )


def _closed_form(experiment: Experiment, weights, intercept) -> list:
  """The closed form on every released model."""
  fixed = experiment.records("fixed")
  return attack.reconstruct_many(
    experiment.config.convex.family,
    weights,
    intercept,
    _flat(fixed.x),
    fixed.y,
    **_objective(experiment),
  )


def _noisy(
  experiment: Experiment, optimum, released
) -> tuple[list, np.ndarray]:
  """The regression that knows the noise, on every released model, and the
  floor on the error of unbiased attacks, (M,)."""
  config = experiment.config.convex
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  shared = noisy.prepare(
    config.family,
    *(part[0] for part in released),
    _flat(fixed.x),
    fixed.y,
    config.noise,
    **_objective(experiment),
  )
  found, floor = [], []
  for i, (x, y) in enumerate(
    tqdm(zip(_flat(targets.x), targets.y), total=len(targets.y), desc="noisy")
  ):
    found.append(noisy.reconstruct(shared, *(p[i] for p in released)))
    floor.append(noisy.fisher_mse(shared, x, int(y), *(p[i] for p in optimum)))
  return found, np.array(floor)


def _privacy(experiment: Experiment) -> dict:
  """What the noise guarantees.

  With the penalty on all coefficients the objective is l2-strongly convex, so
  that one more record moves the optimum by at most L / l2, L the largest norm
  of a record's gradient: |r| |(x, 1)| with pixels in [0, 1].
  """
  config = experiment.config.convex
  pixels = math.prod(experiment.dataset.shape)
  length = {"softmax": math.sqrt(2.0), "logistic": 1.0}[config.family]
  sensitivity = length * math.sqrt(pixels + 1) / config.l2
  multiplier = config.noise / sensitivity
  return dict(
    mechanism="output_perturbation",
    sensitivity=sensitivity,
    noise=config.noise,
    noise_multiplier=multiplier,
    sampling_probability=1.0,
    steps=1,
    delta=config.delta,
    epsilon=accounting.dpsgd_epsilon(multiplier, 1.0, 1, config.delta),
    neighbouring_relation="add/remove-one",
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
    model=f"{family}_regression",
    parameters=weights[0].size + intercept[0].size,
    models=len(weights),
    adversary_knows=["objective"],
  )


def _flat(x: np.ndarray) -> np.ndarray:
  return x.reshape(len(x), -1).astype(np.float64)
