"""What reconstructions of the missing record are worth, for people."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from informed_recon import registry
from informed_recon.experiment import Experiment
from informed_recon.report import figures, table
from informed_recon.report.attacks import Picture, Run, Shown
from informed_recon.report.page import Page
from informed_recon.storage import answers, files

NOTE = """
Means over the evaluation targets with 95% bootstrap intervals. Success: nearer
to the target than anything the adversary held. TPR@1%FPR: share of targets
recognised from their own weights when 1% of reconstructions from another
target's weights would pass. The nearest-neighbour oracle picks the closest held
record knowing the target: it is no attack, but the mark that separates
reconstruction from retrieval. Lower is better for MSE, MAE, KL and the
perceptual distance, higher for the rest.
"""


def text(results: Mapping) -> str:
  """The table for a terminal, with 95% intervals in brackets."""
  released = results["released_model"]
  return "\n".join(
    [
      table.aligned([table.header(results), *table.rows(results)]),
      f"means over targets with 95% intervals; {released['models']} released "
      f"models, test accuracy "
      f"{table.share(released['test_accuracy_mean'], None)}",
    ]
  )


def page(experiment: Experiment, results: Mapping) -> Page:
  """Story, figures and table of an experiment's attacks."""
  run = _read(experiment, results)
  attacks = {name: a.answers.x for name, a in run.attacks.items()}
  # An attack may have answered for the first targets only.
  most = max(map(len, attacks.values()))
  best = min(
    (name for name in attacks if len(attacks[name]) == most),
    key=lambda name: results["attacks"][name]["mse_mean"],
  )
  truth = experiment.records("targets").x
  informed = {k: v for k, v in run.baselines.items() if k == "ridge"} | attacks
  drawn = {
    "errors": figures.errors(run.mse, run.palette),
    "roc": figures.roc_curves(truth, informed, run.palette),
  }
  if "kappa_curve" in results["privacy"]:
    drawn["kappa"] = figures.kappa(results["privacy"]["kappa_curve"])
  if truth.ndim == 4 and truth.shape[-1] in (1, 3):  # grey or RGB
    nearest = run.baselines["nearest_neighbour_oracle"]
    rows = {"target": truth, **attacks, "nearest known": nearest}
    few = min(map(len, attacks.values()))
    grids = {"grid": most} | ({"few": few} if few < most else {})
    drawn = {
      which: _grid(rows, count, run.mse[best]) for which, count in grids.items()
    } | drawn
  pictures = {k: Picture(*CAPTIONS[k], figure) for k, figure in drawn.items()}
  story = list(_story(experiment, results, best))
  for shown in _by_kind(run):
    pictures |= shown.pictures
    story += shown.story
  return Page(
    story=story,
    tiles=_tiles(results, best),
    pictures=pictures,
    header=table.header(results),
    rows=list(table.rows(results)),
    note=NOTE,
  )


def _read(experiment: Experiment, results: Mapping) -> Run:
  folder = experiment.workdir / "evaluation"
  errors = files.read_arrays(folder / "per_target.npz")
  baselines = files.read_arrays(folder / "guesses.npz")
  attacks = {
    name: answers.read(experiment.workdir, name) for name in results["attacks"]
  }
  return Run(
    experiment=experiment,
    results=results,
    attacks=attacks,
    baselines=baselines,
    mse={name: errors[f"{name}/mse"] for name in [*attacks, *baselines]},
    palette=figures.colours(list(attacks)),
  )


def _by_kind(run: Run) -> Iterator[Shown]:
  """What each kind of attack in the run has to show of its own."""
  kinds: dict[str, list[str]] = {}
  for name, attack in run.attacks.items():
    kinds.setdefault(attack.kind, []).append(name)
  for kind, names in kinds.items():
    if kind in registry.names("report.attacks"):
      yield registry.find("report.attacks", kind).show(run, names)


def _grid(rows: Mapping[str, np.ndarray], count: int, mse: np.ndarray):
  """The first `count` targets in the rows that have so many."""
  some = {name: x[:count] for name, x in rows.items() if len(x) >= count}
  return figures.grid(some, mse[:count].argsort())


CAPTIONS = {
  "grid": (
    "Seen and reconstructed",
    "Targets sorted by the error of the best attack. “Nearest known” is the "
    "closest of all records the adversary already held.",
  ),
  "few": (
    "Seen and reconstructed by simulating the training",
    "Targets that every attack has answered for, sorted by the error of the "
    "attack that answered for most.",
  ),
  "errors": (
    "Error against the baselines",
    "Further left is better for the attack.",
  ),
  "roc": (
    "Does it come from the weights?",
    "A generic image can be close to a target by luck; a reconstruction counts "
    "when it is close with the target's own weights and not with another's.",
  ),
  "kappa": (
    "What privacy bounds",
    "Where a blind guess succeeds easily, no bound can say much: choose η so "
    "that κ is small. κ is an upper limit, from the records held.",
  ),
}


def _story(experiment: Experiment, results: Mapping, best: str) -> list[str]:
  split, row = experiment.split, results["attacks"][best]
  released = results["released_model"]
  oracle = results["baselines"]["nearest_neighbour_oracle"]
  verdict = "nearer" if row["mse_mean"] < oracle["mse_mean"] else "no nearer"
  guarded = _guarded(results["privacy"])
  knew = "The adversary knew all of these records but one, "
  knew += _knew(released["adversary_knows"])
  if len(split.shadow):
    kind = "another kind" if experiment.dataset.foreign else "the same kind"
    knew += f"; it held {len(split.shadow):,} further records of {kind}"
  return [
    f"We trained a model ({released['model'].replace('_', ' ')}, "
    f"{released['parameters']:,} "
    f"parameters) on {len(split.fixed) + 1:,} records of "
    f"{experiment.dataset.name} and released its weights. {guarded}{knew}.",
    f"From the weights alone it reconstructed the missing record, for "
    f"{row['targets']:,} different missing records in turn. On average its "
    f"answer was {verdict} to the truth (mean squared error "
    f"{table.number(row['mse_mean'])}) than the closest record it held "
    f"({table.number(oracle['mse_mean'])}), and it was nearer for "
    f"{row['success_rate']:.1%} of the missing records.",
  ]


def _knew(codes: Sequence[str]) -> str:
  """What the adversary knew beside the records."""
  if codes == ["objective"]:
    return "and the objective that was minimised"
  init = "and" if "initial_weights" in codes else "but not"
  return f"the training algorithm {init} the initial weights"


def _guarded(privacy: Mapping) -> str:
  """A sentence on the privacy of the release, if it had any."""
  if privacy["mechanism"] == "none":
    return ""
  said = ("epsilon", "delta", "kappa_confidence")
  settings = ", ".join(
    f"{name.replace('_', ' ')} {value:.4g}"
    for name, value in privacy.items()
    if isinstance(value, int | float) and name not in said
  )
  how = f"(mechanism {privacy['mechanism']}, {settings})"
  if privacy["epsilon"] is None:
    return f"The release guarantees no privacy {how}. "
  return (
    f"The release is differentially private with ε = "
    f"{privacy['epsilon']:.3g} at δ = {privacy['delta']:g}, neighbouring "
    f"relation {privacy['neighbouring_relation']} {how}. "
  )


def _tiles(results: Mapping, best: str) -> list[tuple[str, str, str]]:
  row, oracle = (
    results["attacks"][best],
    results["baselines"]["nearest_neighbour_oracle"],
  )
  released, privacy = results["released_model"], results["privacy"]
  tiles = [
    (
      table.number(row["mse_mean"]),
      "mean squared error",
      f"{best}; nearest-neighbour oracle {table.number(oracle['mse_mean'])}",
    ),
    (
      f"{row['success_rate']:.1%}",
      "reconstructed",
      "nearer to the target than any record held",
    ),
  ]
  for fpr, tpr in row["tpr_at_fpr"].items():
    tiles.append((f"{tpr:.1%}", f"TPR at FPR {fpr}", "recognised as leaked"))
  for m, rate in list(row["identification"].items())[-1:]:
    what = f"found among {m} candidates"
    tiles.append((f"{rate:.1%}", what, f"a blind guess: {1 / int(m):.1%}"))
  if "flagged_rate" in row:
    tiles.append(
      (
        f"{row['flagged_rate']:.1%}",
        "declared out of reach",
        "the attack says so itself, and guesses the mean record",
      )
    )
  if privacy["epsilon"] is not None:
    tiles.append(
      (
        f"ε = {privacy['epsilon']:.3g}",
        "differential privacy",
        f"at δ = {privacy['delta']:g}, {privacy['neighbouring_relation']}",
      )
    )
  if released["test_accuracy_mean"] is not None:
    tiles.append(
      (
        f"{released['test_accuracy_mean']:.1%}",
        "accuracy of the released model",
        f"mean of {released['models']} models",
      )
    )
  return tiles
