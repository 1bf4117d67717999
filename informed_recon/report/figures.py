"""The figures of a report. Each function returns a matplotlib Figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from informed_recon.evaluation import roc
from informed_recon.report import table

STYLE = {
  "font.size": 10,
  "font.family": "sans-serif",
  "axes.spines.top": False,
  "axes.spines.right": False,
  "axes.grid": True,
  "axes.axisbelow": True,
  "grid.color": "#e6e6e6",
  "legend.frameon": False,
  "savefig.dpi": 150,
}
ATTACK_COLOURS = ("#c1272d", "#0072b2", "#e69f00", "#7b3294", "#009e73")
BASELINE_COLOURS = {
  "nearest_neighbour_oracle": "#333333",
  "mean_image": "#aaaaaa",
  "ridge": "#777777",
}
COLUMNS = 6  # targets in each of the groups best, median and worst


def colours(attacks: Sequence[str]) -> dict[str, str]:
  """One colour a name, the same in every figure."""
  cycle = [ATTACK_COLOURS[i % len(ATTACK_COLOURS)] for i in range(len(attacks))]
  return dict(zip(attacks, cycle)) | BASELINE_COLOURS


def grid(rows: Mapping[str, np.ndarray], order: np.ndarray) -> Figure:
  """Images in columns: the best, median and worst targets of an attack.

  Args:
    rows: label -> images (M, h, w, c), the targets first.
    order: (M,) targets from the smallest error to the largest.
  """
  count = len(order)
  width = min(COLUMNS, count // 3)
  middle = (count - width) // 2
  groups = {
    "best": order[:width],
    "median": order[middle : middle + width],
    "worst": order[count - width :],
  }
  figure = Figure(figsize=(12, 0.62 * len(rows) + 0.45))
  outer = figure.add_gridspec(
    1, 3, wspace=0.06, left=0.16, right=0.995, top=0.86, bottom=0.01
  )
  for g, (name, ids) in enumerate(groups.items()):
    inner = outer[g].subgridspec(len(rows), max(width, 1), hspace=0.06)
    for r, (label, images) in enumerate(rows.items()):
      for c, target in enumerate(ids):
        axis = figure.add_subplot(inner[r, c])
        show(axis, images[target])
        if r == 0 and c == 0:
          axis.set_title(name, loc="left", fontsize=11, fontweight="bold")
        if g == 0 and c == 0:
          axis.text(
            *(-0.25, 0.5, label),
            **dict(transform=axis.transAxes, ha="right", va="center"),
          )
  return figure


def show(axis, image: np.ndarray) -> None:
  """One image without decoration; grey where it has one channel."""
  image = image.clip(0, 1)
  image = image[..., 0] if image.shape[-1] == 1 else image
  axis.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
  axis.set_axis_off()


def errors(mse: Mapping[str, np.ndarray], palette: Mapping[str, str]) -> Figure:
  """Share of targets below each error, attacks against baselines."""
  figure = Figure(figsize=(6.2, 3.9), layout="constrained")
  axis = figure.add_subplot()
  for name, values in mse.items():
    baseline = name in BASELINE_COLOURS
    axis.plot(
      np.sort(values),
      np.arange(1, len(values) + 1) / len(values),
      label=table.NAMES.get(name, name),
      color=palette[name],
      lw=1.4 if baseline else 2.2,
      ls="--" if baseline else "-",
    )
  axis.set_xscale("log")
  axis.set_xlabel("reconstruction error (MSE per pixel)")
  axis.set_ylabel("share of targets at or below")
  axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
  axis.legend(fontsize=8.5)
  return figure


def roc_curves(
  truth: np.ndarray,
  guesses: Mapping[str, np.ndarray],
  palette: Mapping[str, str],
) -> Figure:
  """TPR against FPR: the target's own weights against another's."""
  figure = Figure(figsize=(6.2, 3.9), layout="constrained")
  axis = figure.add_subplot()
  for name, guess in guesses.items():
    fpr, tpr = roc.curve(*roc.errors(truth[: len(guess)], guess))
    label = table.NAMES.get(name, name)
    axis.plot(fpr, tpr, label=label, color=palette[name], lw=2)
  chance = np.geomspace(1e-4, 1, 50)
  axis.plot(chance, chance, color="#aaaaaa", ls=":", label="chance")
  axis.set_xscale("log")
  axis.set_xlim(1e-4, 1)
  axis.set_ylim(0, 1.02)
  axis.set_xlabel("false positives: error small with another target's weights")
  axis.set_ylabel("true positives: with its own")
  axis.legend(loc="lower right")
  return figure


def kappa(curve: Sequence[Mapping[str, float]]) -> Figure:
  """Success of the best blind guess, and the bound on any attack, against eta.

  Args:
    curve: rows with eta, kappa and success_upper.
  """
  figure = Figure(figsize=(5.4, 3.4), layout="constrained")
  axis = figure.add_subplot()
  etas = [row["eta"] for row in curve]
  for key, style, label in (
    ("success_upper", "o-", "any attack on this model: at most"),
    ("kappa", "o--", "a blind guess: at most κ"),
  ):
    axis.plot(
      etas, [row[key] for row in curve], style, ms=3, color="#333333",
      alpha=0.5 if key == "kappa" else 1.0, label=label,
    )  # fmt: skip
  axis.set(xscale="log", yscale="log", xlabel="success: MSE per pixel ≤ η")
  axis.set_ylabel("probability")
  axis.legend(fontsize=8.5)
  return figure
