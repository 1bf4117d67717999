"""What the simulation attack did on its way, for people."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from informed_recon import files
from informed_recon.dp import intervals
from informed_recon.report import table
from informed_recon.stages import Experiment

BINS = 10.0 ** np.arange(-6, 1.01, 0.5)  # of the residual


class Searches(NamedTuple):
  """Every step of every search; arrays of one length."""

  residual: np.ndarray  # ρ, which the adversary sees
  mse: np.ndarray  # which it does not
  last: np.ndarray  # whether it is a search's answer


def read(experiment: Experiment) -> Searches | None:
  """The searches of an experiment, if it made any."""
  truth = experiment.records("targets").x
  residual, mse, last = [], [], []
  for name in experiment.config.simulations:
    directory = experiment.workdir / "simulation" / name
    for path in sorted(directory.glob("target-*.npz")):
      way = files.read_arrays(path)
      target = truth[int(path.stem.split("-")[1])]
      axes = tuple(range(1, target.ndim + 1))
      residual += [way["trace"], way["residual"][None]]
      mse += [
        np.mean((way["iterates"] - target) ** 2, axes),
        np.mean((way["x"] - target) ** 2)[None],
      ]
      last += [np.zeros(len(way["trace"]), bool), np.ones(1, bool)]
  if not residual:
    return None
  return Searches(*map(np.concatenate, (residual, mse, last)))


def draw(searches: Searches, eta: float) -> Figure:
  """Error against residual, and how often the record is right given it."""
  figure = Figure(figsize=(9, 3.6), layout="constrained")
  cloud, curve = figure.subplots(1, 2)
  for which, colour, size, label in (
    (~searches.last, "#bbbbbb", 2, "on the way"),
    (searches.last, "#c1272d", 5, "answers"),
  ):
    cloud.plot(
      *(searches.residual[which], searches.mse[which], "."),
      **dict(ms=size, color=colour, label=label),
    )
  cloud.axhline(eta, color="#333333", lw=0.8, ls="--")
  cloud.set(xscale="log", yscale="log", xlabel="relative residual ρ")
  cloud.set_ylabel("reconstruction error (MSE per pixel)")
  cloud.legend(fontsize=8.5)
  for low, high in zip(BINS[:-1], BINS[1:]):
    inside = (searches.residual > low) & (searches.residual <= high)
    if inside.any():
      right = (searches.mse[inside] <= eta).sum()
      rate, center = right / inside.sum(), np.sqrt(low * high)
      interval = np.array(intervals.clopper_pearson(right, inside.sum()))
      reach = np.abs(interval - rate)[:, None]
      curve.errorbar(center, rate, reach, fmt="o", color="#333333", capsize=3)
  curve.set(xscale="log", xlabel="relative residual ρ")
  curve.set_ylabel(f"share with an MSE of at most {eta:g}")
  curve.yaxis.set_major_formatter(PercentFormatter(1))
  return figure


def story(results: Mapping) -> list[str]:
  """A paragraph for every simulation attack."""
  return [
    f"Running the training again and again until its end met the released "
    f"weights ({name}), for {row['targets']:,} of the missing records: median "
    f"squared error {table.number(row['mse_median'])}, "
    f"{row['success_at_eta']['rate']:.1%} at most "
    f"{row['success_at_eta']['eta']:g}, {row['label_accuracy']:.1%} of the "
    f"labels right, {row['flagged_rate']:.1%} declared not found. It took "
    f"{row['training_passes_median']:.0f} runs through training, forward or "
    f"backward, a record."
    for name, row in results["attacks"].items()
    if "training_passes_median" in row
  ]
