"""Whether the closed form knows when it is right."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from sklearn import metrics

from informed_recon.report import figures
from informed_recon.report.attacks import Picture, Run, Shown

WHAT = "the closed form, on the stationarity of the optimum"
OPEN_TO = "convex"  # configs with this group
RIGHT = 1e-8  # relative squared error of a record that counts as recovered


def show(run: Run, names: Sequence[str]) -> Shown:
  (name,) = names
  said = run.attacks[name].answers
  computed = said.unguarded
  if computed is None:
    return Shown()  # a run older than the field
  truth = run.experiment.records("targets").x.astype(np.float64)
  error = np.mean((computed - truth) ** 2, tuple(range(1, truth.ndim)))
  scale = np.mean(run.experiment.adversary_records().x.astype(np.float64) ** 2)
  picture = Picture(
    "Does the attack know when it is right?",
    "What the attack computed, trusted or not. Its self-check sees the weights "
    "and the known records only. Right: a mean squared error below 1e-8 of "
    "the records' mean square.",
    verdict(said.residual, error / scale, said.identifiable),
  )
  return Shown({"verdict": picture})


def verdict(
  residual: np.ndarray, error: np.ndarray, trusted: np.ndarray
) -> Figure:
  """How well an attack's self-check separates right records from wrong ones.

  Args:
    residual: (M,) self-check, no knowledge of the truth.
    error: (M,) squared error over the records' mean square.
    trusted: (M,) whether the attack vouches for its answer.
  """
  error = np.where(np.isfinite(error), error, 1e3)
  right = error <= RIGHT
  mixed = right.any() and not right.all()
  width, height = figures.SIZE
  figure = Figure(figsize=(width, height * (1 + mixed)), layout="constrained")
  cloud, *rest = figure.subplots(1 + mixed, 1, squeeze=False)[:, 0]
  for which, colour, label in (
    (trusted, "#0072b2", "trusted"),
    (~trusted, "#c1272d", "declared out of reach"),
  ):
    cloud.plot(
      np.clip(residual[which], 1e-16, 1e6),
      np.clip(error[which], 1e-32, 1e3),
      ".",
      **dict(ms=3, alpha=0.6, color=colour),
      label=f"{label} ({which.sum()})",
    )
  cloud.axhline(RIGHT, color="#aaaaaa", lw=0.8)
  cloud.set_xlabel("self-check")
  for which in ("x", "y"):
    figures.log_axis(cloud, which)
  cloud.set_ylabel("squared error (relative)")
  if not mixed:
    cloud.set_title(
      f"{'all records are' if right.all() else 'no record is'} right"
    )
    figures.legend(figure, cloud)
    return figure
  cloud.legend(fontsize=9.5)
  (curve,) = rest
  accepted_wrong, accepted_right, _ = metrics.roc_curve(right, -residual)
  area = metrics.auc(accepted_wrong, accepted_right)
  curve.plot(accepted_wrong, accepted_right, color="#333333")
  curve.plot(
    (trusted & ~right).sum() / (~right).sum(),
    (trusted & right).sum() / right.sum(),
    "o",
    color="#0072b2",
    label="as the attack decides",
  )
  curve.set(xlabel="wrong records trusted", ylabel="right records trusted")
  curve.set_title(
    f"AUC {area:.4f} ({right.sum()} right, {(~right).sum()} wrong)", fontsize=10
  )
  curve.xaxis.set_major_formatter(PercentFormatter(1))
  curve.yaxis.set_major_formatter(PercentFormatter(1))
  curve.legend(fontsize=9.5, loc="lower right")
  return figure
