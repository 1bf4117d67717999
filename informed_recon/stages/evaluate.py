"""Scores every attack of the run, and the baselines, on the targets."""

import csv
import io
import math
from collections.abc import Callable, Mapping

import numpy as np
from tqdm import tqdm

from informed_recon import models, prng
from informed_recon.dp import overview, priors
from informed_recon.evaluation import baselines, judge, metrics, scoring
from informed_recon.experiment import Experiment, identity
from informed_recon.report import reconstruction
from informed_recon.storage import answers, files
from informed_recon.types import Answers, UserError

REPORT = reconstruction  # what shows these results
# Of the upper bound on kappa of the images' distribution, and records it uses.
KAPPA_CONFIDENCE = 0.99
KAPPA_POINTS = 5000
# Thresholds at which kappa is stated, over evaluation.eta.
ETAS = np.array([0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10])
ORACLE = "nearest_neighbour_oracle"
RUNNABLE = ("ridge",)  # baselines that an adversary could run


def check(experiment: Experiment) -> None:
  settings, targets = experiment.config.evaluation, experiment.split.targets
  if experiment.dataset.num_classes:
    _judge_model(experiment)
  classifier = settings.classifier
  if min(classifier.epochs, classifier.batch_size) < 1:
    raise UserError(
      "evaluation.classifier needs epochs and batch_size of at least 1, "
      f"got {classifier.epochs} and {classifier.batch_size}"
    )
  if settings.ridge_shadows < 2:
    raise UserError(
      "evaluation.ridge_shadows must be at least 2, "
      f"got {settings.ridge_shadows}"
    )
  if not all(isinstance(f, float) and 0 < f < 1 for f in settings.fpr):
    raise UserError(
      "evaluation.fpr must lie between 0 and 1, each a number, got "
      f"{settings.fpr}"
    )
  if not 0 < settings.eta < math.inf:
    raise UserError(f"evaluation.eta must be positive, got {settings.eta}")
  if not all(isinstance(m, int) and m >= 2 for m in settings.candidates):
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
  directory = experiment.evaluation
  seal, made_from = directory / ".done.json", _made_from(experiment)
  if files.folder_intact(seal, directory, made_from):
    return
  attacks = answers.read_all(experiment.workdir)
  guesses = _baselines(experiment)
  everyone = {name: Answers(guess) for name, guess in guesses.items()}
  everyone |= {name: attack.answers for name, attack in attacks.items()}
  errors = _errors(experiment, everyone)
  rows = {
    name: _row(experiment, name, answer, errors)
    for name, answer in everyone.items()
  }
  for name, attack in attacks.items():
    if attack.answers.cost is not None:
      cost = float(np.median(attack.answers.cost))
      rows[name][f"{attack.cost_unit}_median"] = cost
  per_target = {
    f"{name}/{k}": v for name in errors for k, v in errors[name].items()
  }
  files.write_arrays(directory / "per_target.npz", **per_target)
  files.write_arrays(directory / "guesses.npz", **guesses)
  files.write_text(
    directory / "per_target.csv", _table(experiment, attacks, errors)
  )
  released = files.read_sealed(experiment.workdir / "released_model.json")
  # Where its maker claims no privacy, there is none.
  privacy = released.pop("privacy", dict(mechanism="none", epsilon=None))
  if "noise_multiplier" in privacy:  # bounds speak of noise
    privacy |= _limits(experiment, privacy)
  files.write_json(
    directory / "results.json",
    dict(
      attacks={name: rows[name] for name in attacks},
      baselines={name: rows[name] for name in guesses},
      released_model=released,
      privacy=privacy,
    ),
  )
  files.seal_folder(seal, directory, made_from)


def _made_from(experiment: Experiment) -> str:
  """Digest of what the scores of a run depend on and may change in it."""
  workdir = experiment.workdir
  inputs = [*sorted((workdir / answers.FOLDER).glob("*.npz"))]
  inputs.append(workdir / "released_model.json")
  return identity.json_hash(
    [
      identity.flatten(experiment.config, "evaluation"),
      {path.name: files.digest(path) for path in inputs},
    ]
  )


def _errors(
  experiment: Experiment, everyone: Mapping[str, Answers]
) -> dict[str, dict[str, np.ndarray]]:
  """Name -> metric -> (M,), of all that answered for the first M targets."""
  targets = experiment.records("targets").x
  judge = _judge(experiment) if experiment.dataset.num_classes else None
  distance = experiment.perceptual("judge")
  return {
    name: metrics.per_target(targets[: len(said.x)], said.x, judge, distance)
    for name, said in tqdm(everyone.items(), desc="score")
  }


def _row(
  experiment: Experiment, name: str, said: Answers, errors: Mapping
) -> dict:
  """The row of results.json of one attack or baseline."""
  settings, seed = experiment.config.evaluation, experiment.config.seed
  targets, some = experiment.records("targets"), slice(len(said.x))
  truth, mse = targets.x[some], errors[name]["mse"]
  row = scoring.summary(errors[name])
  row |= scoring.identified(truth, said.x, settings.candidates, seed)
  if name == ORACLE:
    return row
  row |= scoring.success(mse, errors[ORACLE]["mse"][some], settings.eta)
  if name != "mean_image":  # which is the same for all weights
    row |= scoring.recognised(truth, said.x, settings.fpr)
  if said.identifiable is not None:
    row |= scoring.trust(said, mse, targets.y[some], settings.eta)
  if said.unguarded is not None:
    row |= scoring.unguarded(said, truth, targets.y[some], settings.eta)
  return row


def _table(
  experiment: Experiment,
  attacks: Mapping[str, answers.Attack],
  errors: Mapping[str, Mapping[str, np.ndarray]],
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
  for name in [*attacks, *(k for k in RUNNABLE if k in errors)]:
    mse = errors[name]["mse"]
    columns[f"{name}/mse"] = padded(mse)
    least[: len(mse)] = np.minimum(least[: len(mse)], mse)
    for own in ("identifiable", "residual", "error") if name in attacks else ():
      values = getattr(attacks[name].answers, own)
      if values is not None:
        columns[f"{name}/{own}"] = padded(values)
  columns[f"{ORACLE}/mse"] = errors[ORACLE]["mse"].tolist()
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
  settings, known = (
    experiment.config.evaluation,
    experiment.adversary_records().x,
  )
  # Some thousand records place kappa well enough, and distances are n^2.
  points = known.reshape(len(known), -1)[:KAPPA_POINTS]
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


def _baselines(experiment: Experiment) -> dict[str, np.ndarray]:
  """What the oracle and each baseline answer for every target."""
  truth, known = experiment.records("targets").x, experiment.adversary_records()
  with_ridge = len(experiment.split.shadow) > 1 and (
    "shadow" in experiment.config.stages
  )
  with tqdm(total=2 + with_ridge, desc="baselines") as bar:
    oracle = baselines.nearest_neighbour_oracle(truth, known.x)
    bar.update()
    guesses = {
      ORACLE: known.x[oracle.index],
      "mean_image": baselines.mean_image(known.x, len(truth)),
    }
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
  return guesses


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
