"""What the simulation attack did on its way."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from informed_recon.dp import intervals
from informed_recon.experiment import Experiment
from informed_recon.report import figures, table
from informed_recon.report.attacks import Picture, Run, Shown
from informed_recon.storage import files

WHAT = "running the training again until its end meets the released weights"
OPEN_TO = "model"  # configs with this group
BINS = 10.0 ** np.arange(-6, 1.01, 0.5)  # of the residual


class Search(NamedTuple):
  """One search, step by step; arrays of one length, the answer apart."""

  residual: np.ndarray  # ρ, which the adversary sees
  mse: np.ndarray  # which it does not
  spent: np.ndarray  # runs through training until then
  answer: tuple[float, float]  # ρ and mse


def show(run: Run, names: Sequence[str]) -> Shown:
  experiment = run.experiment
  found = {name: read(experiment, name) for name in names}
  eta, shadows = experiment.config.evaluation.eta, len(experiment.split.shadow)
  starts = {k: experiment.config.simulations[k].starts for k in found}
  check = Picture(
    "Does the search know when it is right?",
    "Every step of every search. The residual compares released weights with "
    "simulated ones, which needs no knowledge of the truth. Right: the MSE "
    "is at most evaluation.eta. Bars: 95% intervals over searches, of which "
    "each counts once a bar, with its last step there.",
    self_check(found, eta),
  )
  price = Picture(
    "Accuracy against compute",
    "For a first record: a simulation's runs through training, forward or "
    "backward; for a reconstructor (dot) its shadow models, without the "
    "network's own training; both for a simulation that starts from one. For "
    "further records the shadow models are there already.",
    cost(
      found,
      {k: shadows * any(s in run.attacks for s in starts[k]) for k in found},
      shadows,
      {k: np.median(run.mse[k]) for k in run.attacks if k not in found},
      run.palette,
    ),
  )
  story = [_says(name, run.results["attacks"][name]) for name in names]
  return Shown({"searches": check, "cost": price}, story)


def read(experiment: Experiment, name: str) -> list[Search]:
  """The searches of one attack, a target each."""
  truth, searches = experiment.records("targets").x, []
  folder = experiment.workdir / "simulation" / name
  for path in sorted(folder.glob("target-*.npz")):
    way = files.read_arrays(path)
    target = truth[int(path.stem.split("-")[1])]
    axes = tuple(range(1, target.ndim + 1))
    mse = np.mean((way["iterates"] - target) ** 2, axes)
    answer = way["residual"], np.mean((way["x"] - target) ** 2)
    searches.append(Search(way["trace"], mse, way["spent"], answer))
  return searches


def self_check(searches: Mapping[str, list[Search]], eta: float) -> Figure:
  """Error against residual, and how often the record is right given it."""
  figure = Figure(figsize=(5.2, 7.2), layout="constrained")
  cloud, curve = figure.subplots(2, 1)
  every = [search for some in searches.values() for search in some]
  residual, mse = (
    np.concatenate([getattr(search, name) for search in every])
    for name in ("residual", "mse")
  )
  answers = np.array([search.answer for search in every]).T
  for points, colour, size, label in (
    ((residual, mse), "#bbbbbb", 2, "on the way"),
    (answers, "#c1272d", 5, "answers"),
  ):
    cloud.plot(*points, ".", ms=size, color=colour, label=label)
  cloud.axhline(eta, color="#333333", lw=0.8, ls="--")
  cloud.set_xlabel("relative residual ρ")
  cloud.set_ylabel("reconstruction error (MSE)")
  for which in ("x", "y"):
    figures.log_axis(cloud, which)
  cloud.legend(fontsize=9.5)
  for low, high in zip(BINS[:-1], BINS[1:]):
    last = [e for e in (_last(s, low, high) for s in every) if e is not None]
    if last:
      right, count = int((np.array(last) <= eta).sum()), len(last)
      rate, center = right / count, np.sqrt(low * high)
      interval = np.array(intervals.clopper_pearson(right, count))
      reach = np.abs(interval - rate)[:, None]
      curve.errorbar(center, rate, reach, fmt="o", color="#333333", capsize=3)
  curve.set_xlabel("relative residual ρ")
  figures.log_axis(curve, "x")
  curve.set_ylabel(f"share with an MSE of at most {eta:g}")
  curve.yaxis.set_major_formatter(PercentFormatter(1))
  return figure


def _last(search: Search, low: float, high: float) -> float | None:
  """Error of a search's last step with a residual in (low, high]. Its steps
  are not independent of each other, so that a search counts once."""
  inside = np.flatnonzero((search.residual > low) & (search.residual <= high))
  return float(search.mse[inside[-1]]) if len(inside) else None


def cost(
  searches: Mapping[str, list[Search]],
  before: Mapping[str, int],
  shadows: int,
  trained: Mapping[str, float],
  palette: Mapping[str, str],
) -> Figure:
  """Error against all that was computed for a first record.

  Args:
    searches: of the attacks by simulation.
    before: shadow models that such an attack needed for its starting points.
    shadows: shadow models.
    trained: median error of the attacks that learned from these.
    palette: name -> colour.
  """
  figure = Figure(figsize=figures.SIZE, layout="constrained")
  axis = figure.add_subplot()
  for name, error in trained.items():
    axis.plot(shadows, error, "o", color=palette[name], label=name)
  for name, some in searches.items():
    budgets = np.unique(np.concatenate([search.spent for search in some]))
    median = [np.median([_at(s, b) for s in some]) for b in budgets]
    axis.plot(
      before[name] + budgets,
      median,
      **dict(color=palette[name], lw=2.2, label=name),
    )
  axis.set_xlabel("runs through training")
  axis.set_ylabel("median reconstruction error (MSE)")
  for which in ("x", "y"):
    figures.log_axis(axis, which)
  figures.legend(figure, axis)
  return figure


def _at(search: Search, budget: float) -> float:
  """Error of what the search would answer after so many runs."""
  steps = max(np.searchsorted(search.spent, budget, side="right"), 1)
  return search.mse[np.argmin(search.residual[:steps])]


def _says(name: str, row: Mapping) -> str:
  """What a row of results.json says of the attack."""
  return (
    f"Running the training again and again until its end met the released "
    f"weights ({name}), for {row['targets']:,} of the missing records: median "
    f"squared error {table.number(row['mse_median'])}, "
    f"{row['success_at_eta']['rate']:.1%} at most "
    f"{row['success_at_eta']['eta']:g}, {row['label_accuracy']:.1%} of the "
    f"labels right, {row['flagged_rate']:.1%} declared not found. It took "
    f"{row['training_passes_median']:.0f} runs through training, forward or "
    f"backward, a record."
  )
