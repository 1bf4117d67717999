"""The figures of a report. Each function returns a matplotlib Figure."""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from informed_recon.evaluation import roc
from informed_recon.report import table

STYLE = {
  "font.size": 11,
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


def png(figure: Figure) -> bytes:
  """A figure in the reports' style, the same bytes every time."""
  buffer = io.BytesIO()
  with matplotlib.rc_context(STYLE):
    figure.savefig(buffer, format="png", metadata={"Software": None})
  return buffer.getvalue()


def data_uri(image: bytes) -> str:
  """A PNG as a page holds it."""
  return "data:image/png;base64," + base64.b64encode(image).decode()


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
            -0.25,
            0.5,
            label,
            **dict(transform=axis.transAxes, ha="right", va="center"),
          )
  return figure


def show(axis, image: np.ndarray) -> None:
  """One image without decoration; grey where it has one channel."""
  image = image.clip(0, 1)
  image = image[..., 0] if image.shape[-1] == 1 else image
  axis.imshow(image, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
  axis.set_axis_off()


SIZE = (5.2, 4.2)  # inches; readable at the width of a phone


def log_axis(axis, which: str) -> None:
  """A logarithmic axis, "x" or "y", with ticks at powers of ten alone, between
  which all that is drawn lies. Less than a decade is drawn linearly."""
  limits = getattr(axis.dataLim, f"interval{which}")
  low, high = max(limits[0], axis.dataLim.minpos["xy".index(which)]), limits[1]
  if not 0 < 10 * low < high < np.inf:
    return
  getattr(axis, f"set_{which}scale")("log")
  ends = np.floor(np.log10(low) + 1e-6), np.ceil(np.log10(high) - 1e-6)
  getattr(axis, f"set_{which}lim")(*np.power(10.0, ends))
  ticks = getattr(axis, f"{which}axis")
  ticks.set_major_locator(LogLocator(10, numticks=7))
  ticks.set_minor_formatter(NullFormatter())


def legend(figure: Figure, axis) -> None:
  """The legend under the axes, where it covers no curve."""
  handles, labels = axis.get_legend_handles_labels()
  columns = 2 if max(map(len, labels)) < 32 else 1
  figure.legend(
    handles,
    labels,
    **dict(loc="outside lower center", ncols=columns, fontsize=9.5),
  )


def errors(
  mse: Mapping[str, np.ndarray], palette: Mapping[str, str], feature: str
) -> Figure:
  """Share of targets below each error, attacks against baselines."""
  figure = Figure(figsize=SIZE, layout="constrained")
  axis = figure.add_subplot()
  for name, values in mse.items():
    baseline = name in BASELINE_COLOURS
    axis.plot(
      np.sort(np.maximum(values, 1e-32)),  # an exact one has no logarithm
      np.arange(1, len(values) + 1) / len(values),
      label=table.title(name),
      color=palette[name],
      lw=1.4 if baseline else 2.2,
      ls="--" if baseline else "-",
    )
  log_axis(axis, "x")
  axis.set_xlabel(f"reconstruction error (MSE per {feature})")
  axis.set_ylabel("share of targets at or below")
  axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
  legend(figure, axis)
  return figure


def roc_curves(
  truth: np.ndarray,
  guesses: Mapping[str, np.ndarray],
  palette: Mapping[str, str],
) -> Figure:
  """TPR against FPR: the target's own weights against another's. Who has
  answered for one target alone has no curve."""
  figure = Figure(figsize=SIZE, layout="constrained")
  axis = figure.add_subplot()
  for name, guess in guesses.items():
    if len(guess) < 2:
      continue
    fpr, tpr = roc.curve(*roc.errors(truth[: len(guess)], guess))
    label = table.title(name)
    axis.plot(fpr, tpr, label=label, color=palette[name], lw=2)
  chance = np.geomspace(1e-4, 1, 50)
  axis.plot(chance, chance, color="#aaaaaa", ls=":", label="chance")
  axis.set_xlim(1e-4, 1)
  log_axis(axis, "x")
  axis.set_ylim(0, 1.02)
  axis.set_xlabel("FPR, given another target's weights")
  axis.set_ylabel("TPR, given its own")
  legend(figure, axis)
  return figure


def kappa(curve: Sequence[Mapping[str, float]], feature: str) -> Figure:
  """Success of the best blind guess, and the bound on any attack, against eta.

  Args:
    curve: rows with eta, kappa and success_upper.
    feature: what eta is a mean over.
  """
  figure = Figure(figsize=SIZE, layout="constrained")
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
  axis.set(xlabel=f"success: MSE per {feature} ≤ η", ylabel="probability")
  for which in ("x", "y"):
    log_axis(axis, which)
  legend(figure, axis)
  return figure
