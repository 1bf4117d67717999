"""Scores every attack in `attacks/*.npz`, and the baselines, on the targets."""

import csv
import io
from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

from informed_recon import models, prng
from informed_recon.dp import intervals, overview, priors
from informed_recon.evaluation import (
  baselines,
  identification,
  judge,
  metrics,
  roc,
)
from informed_recon.experiment import Experiment
from informed_recon.report import reconstruction
from informed_recon.storage import files
from informed_recon.types import UserError

REPORT = reconstruction  # what shows these results
# Of the upper bound on kappa of the images' distribution, and records it uses.
KAPPA_CONFIDENCE = 0.99
KAPPA_POINTS = 5000
# Thresholds at which kappa is stated, over evaluation.eta.
ETAS = np.array([0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10])


def check(experiment: Experiment) -> None:
  settings, targets = experiment.config.evaluation, experiment.split.targets
  if experiment.dataset.num_classes:
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
  if not all(m >= 2 for m in settings.candidates):
    raise UserError(
      f"evaluation.candidates must be numbers from 2, got {settings.candidates}"
    )
  if len(targets) < 2:
    raise UserError(
      "split.targets must be at least 2: a false positive is a target's "
      "reconstruction from another one's weights"
    )


def run(experiment: Experiment) -> None:
  """Leaves `evaluation/results.json`, `per_target.npz`, `guesses.npz` and, for
  people, `per_target.csv`: how exposed each record is."""
  directory = experiment.workdir / "evaluation"
  attacks = {
    path.stem: files.read_arrays(path)
    for path in sorted((experiment.workdir / "attacks").glob("*.npz"))
  }
  path = directory / "results.json"
  if (
    path.exists() and files.read_json(path)["attacks"].keys() == attacks.keys()
  ):
    return
  settings = experiment.config.evaluation
  targets = experiment.records("targets").x
  oracle, guesses = _baselines(experiment)
  judge = _judge(experiment) if experiment.dataset.num_classes else None
  distance = experiment.perceptual("judge")
  guesses_of_all = guesses | {name: a["x"] for name, a in attacks.items()}
  per_target, rows = {}, {}
  labels = experiment.records("targets").y
  for name, guess in tqdm(guesses_of_all.items(), desc="score"):
    # An attack may have answered for the first targets only.
    truth, some = targets[: len(guess)], slice(len(guess))
    errors = metrics.per_target(truth, guess, judge, distance)
    per_target |= {f"{name}/{k}": v for k, v in errors.items()}
    rows[name] = summary(errors)
    rows[name] |= _identification(truth, guess, experiment.config)
    if name != "nearest_neighbour_oracle":
      rows[name] |= _success(errors["mse"], oracle.mse[some], settings.eta)
    if name not in ("nearest_neighbour_oracle", "mean_image"):
      rows[name] |= _tpr(truth, guess, settings.fpr)
    if "identifiable" in attacks.get(name, {}):
      rows[name] |= _trust(attacks[name], errors["mse"], labels[some])
    if "passes" in attacks.get(name, {}):
      passes = attacks[name]["passes"]
      rows[name] |= dict(training_passes_median=float(np.median(passes)))
  files.write_arrays(
    directory / "per_target.npz", oracle_index=oracle.index, **per_target
  )
  files.write_arrays(directory / "guesses.npz", **guesses)
  files.write_text(
    directory / "per_target.csv", _table(experiment, attacks, per_target)
  )
  released = files.read_json(experiment.workdir / "released_model.json")
  # Where its maker claims no privacy, there is none.
  privacy = released.pop("privacy", dict(mechanism="none", epsilon=None))
  if privacy["mechanism"] != "none":
    privacy |= _limits(experiment, privacy)
  files.write_json(
    path,
    dict(
      attacks={name: rows[name] for name in attacks},
      baselines={name: rows[name] for name in guesses},
      released_model=released,
      privacy=privacy,
    ),
  )


def _table(
  experiment: Experiment, attacks: Mapping, per_target: Mapping
) -> str:
  """One row a target, the most exposed first: its id in the data set, its
  label, each attack's error, what the attack says of itself, and the oracle's
  error."""
  columns = {
    "record": experiment.split.targets,
    "label": experiment.records("targets").y,
  }
  count = len(columns["label"])

  def padded(values):  # for targets that an attack has not answered for
    return [*values.tolist(), *[""] * (count - len(values))]

  least = np.full(count, np.inf)
  for name, attack in attacks.items():
    mse = per_target[f"{name}/mse"]
    columns[f"{name}/mse"] = padded(mse)
    least[: len(mse)] = np.minimum(least[: len(mse)], mse)
    for own in ("identifiable", "residual"):
      if own in attack:
        columns[f"{name}/{own}"] = padded(attack[own])
  oracle = "nearest_neighbour_oracle/mse"
  columns[oracle] = per_target[oracle].tolist()
  text = io.StringIO()
  rows = csv.writer(text, lineterminator="\n")
  rows.writerow(columns)
  rows.writerows(
    zip(*([c[i] for i in np.argsort(least)] for c in columns.values()))
  )
  return text.getvalue()


def _limits(experiment: Experiment, privacy: Mapping) -> dict:
  """What no attack can exceed under this mechanism: kappa and every bound, for
  success at eta and for identification."""
  settings, held = experiment.config.evaluation, experiment.held().x
  # Some thousand records place kappa well enough, and distances are n^2.
  points = held.reshape(len(held), -1)[:KAPPA_POINTS]
  etas = settings.eta * ETAS
  radii = np.sqrt(points.shape[1] * etas)  # eta is a mean over pixels
  curve = priors.empirical_kappa_upper(points, radii, KAPPA_CONFIDENCE)
  at_eta = float(curve[ETAS == 1][0])
  sizes = [m for m in settings.candidates if m <= len(experiment.split.targets)]
  kappas = {"eta": at_eta} | {str(m): 1 / m for m in sizes}
  return dict(
    kappa=kappas,
    kappa_confidence=KAPPA_CONFIDENCE,
    kappa_curve=[
      dict(
        eta=float(eta),
        kappa=float(kappa),
        success_upper=overview.all_upper(privacy, float(kappa))["tight"],
      )
      for eta, kappa in zip(etas, curve, strict=True)
    ],
    success_upper={
      name: overview.all_upper(privacy, kappa) for name, kappa in kappas.items()
    },
  )


def _baselines(experiment: Experiment):
  """The oracle and what each baseline answers for every target."""
  truth, held = experiment.records("targets").x, experiment.held()
  with_ridge = len(experiment.split.shadow) > 1 and (
    "shadow" in experiment.config.stages
  )
  with tqdm(total=2 + with_ridge, desc="baselines") as bar:
    oracle = baselines.nearest_neighbour_oracle(truth, held.x)
    bar.update()
    guesses = dict(
      nearest_neighbour_oracle=held.x[oracle.index],
      mean_image=baselines.mean_image(held.x, len(truth)),
    )
    bar.update()
    if with_ridge:
      ridge = baselines.ridge(
        experiment.rows("shadow"),
        experiment.records("shadow").x,
        shadows=experiment.config.evaluation.ridge_shadows,
      )
      released = experiment.rows("targets").all()
      guesses["ridge"] = ridge(released, experiment.dataset.shape)
      bar.update()
  return oracle, guesses


def summary(errors: Mapping[str, np.ndarray]) -> dict:
  """Means with 95% intervals, and the median error, as JSON values."""
  row = dict(targets=len(errors["mse"]))
  row["mse_median"] = float(np.median(errors["mse"]))
  for name in errors:
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


def _identification(truth: np.ndarray, guess: np.ndarray, config) -> dict:
  """How often the target is told from decoys; a blind guess is right 1/m."""
  hits = identification.identified(
    truth, guess, config.evaluation.candidates, config.seed
  )
  return dict(
    identification={str(m): float(h.mean()) for m, h in hits.items()},
    identification_ci95={
      str(m): list(intervals.clopper_pearson(h.sum(), len(h)))
      for m, h in hits.items()
    },
  )


def _trust(attack: Mapping, mse: np.ndarray, labels: np.ndarray) -> dict:
  """What the attack's own verdict is worth: how often it declines, and the
  worst of what it vouches for."""
  trusted = attack["identifiable"]
  rate, interval = metrics.mean_ci95(np.float64(~trusted))
  row = dict(flagged_rate=rate, flagged_rate_ci95=list(interval))
  if np.issubdtype(labels.dtype, np.integer):
    right, interval = metrics.mean_ci95(np.float64(attack["y"] == labels))
    row |= dict(label_accuracy=right, label_accuracy_ci95=list(interval))
  if trusted.any():
    wrong = attack["y"][trusted] != labels[trusted]
    row |= dict(trusted_mse_max=float(mse[trusted].max()))
    if np.issubdtype(labels.dtype, np.integer):
      row |= dict(trusted_wrong_labels=int(wrong.sum()))
  return row


def _tpr(truth: np.ndarray, guess: np.ndarray, fprs: tuple[float, ...]) -> dict:
  own, null = roc.errors(truth, guess)
  return dict(
    tpr_at_fpr={f"{f:g}": roc.tpr_at_fpr(own, null, f) for f in fprs},
    tpr_at_fpr_ci95={
      f"{f:g}": list(roc.tpr_at_fpr_ci95(own, null, f)) for f in fprs
    },
  )


def _judge_model(experiment: Experiment) -> models.Model:
  spec = experiment.config.evaluation.classifier
  return models.build(
    spec.name,
    experiment.taught_classes,
    experiment.dataset.shape,
    spec.options.to_dict(),
  )


def _judge(experiment: Experiment) -> Callable[[np.ndarray], np.ndarray]:
  spec = experiment.config.evaluation.classifier.to_dict()
  del spec["name"], spec["options"]
  return judge.fit(
    _judge_model(experiment),
    judge.Classifier(**spec),
    experiment.taught(),
    prng.stream(experiment.key, "judge"),
  )
