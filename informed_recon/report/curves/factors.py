"""What each factor of training does to the attacks: a panel a factor.

Points of the sweep carry the labels factor, point, baseline and seed; the
statistics are those of `report.factors.effects`.
"""

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from informed_recon.report import figures, table
from informed_recon.report.curves import Result
from informed_recon.report.factors import effects
from informed_recon.types import UserError

COLUMNS = 4  # panels in a row


def draw(results: Sequence[Result]) -> tuple[Figure, list[str]]:
  """The figure, and what it shows in sentences."""
  found = effects.frame(results)
  if not len(found):
    raise UserError(
      "the factors curve wants points with the labels factor, point, baseline "
      "and seed"
    )
  seeds = found.seed.nunique()
  said = [
    f"{e.factor}: {effects.sentence(e)} "
    f"(error × {effects.times(effects.ratio(e)[0])})."
    for e in effects.effects(found)
    if effects.sentence(e) != "no difference shown"
  ]
  first = f"{len(effects.factors(found))} factors, {seeds} seeds."
  return panels(found), [first, *said]


def rows(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
  """The table beside the figure: its header, and a row a factor."""
  shown = [
    effects.described(e) for e in effects.effects(effects.frame(results))
  ]
  return list(shown[0]) if shown else [], [[*row.values()] for row in shown]


def panels(found: pd.DataFrame) -> Figure:
  """One panel a factor: the median error of each attack, geometric means over
  seeds with 95% intervals; under each point the released model's accuracy on
  new records."""
  names = effects.factors(found)
  shown = names or [effects.BASELINE]
  baselines = effects.RUNNABLE
  attacks = sorted(found.attack.unique(), key=lambda a: (a in baselines, a))
  palette = figures.colours([a for a in attacks if a not in baselines])
  height = math.ceil(len(shown) / COLUMNS)
  figure = Figure(figsize=(13, 2.75 * height + 0.6), layout="constrained")
  axes = figure.subplots(height, COLUMNS, sharey=True, squeeze=False).ravel()
  for axis in axes[len(shown) :]:
    axis.set_axis_off()
  for axis, name in zip(axes, shown):
    _panel(axis, effects.of_factor(found, name), attacks, palette)
    axis.set_title(name, loc="left", fontsize=10, fontweight="bold")
  for axis in axes[::COLUMNS]:
    axis.set_ylabel("median MSE")
  handles, labels = axes[0].get_legend_handles_labels()
  figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
  return figure


def _panel(axis, own: pd.DataFrame, attacks, palette) -> None:
  baseline = own.baseline[own.baseline != ""]
  baseline = baseline.iloc[0] if len(baseline) else ""
  points = ordered([*own.point.unique()], baseline)
  place = {point: i for i, point in enumerate(points)}
  for shift, attack in enumerate(attacks):
    mine = own[own.attack == attack]
    at, mean, reach = [], [], []
    for point, group in mine.groupby("point", sort=False):
      logs = np.log(np.maximum(group.mse, effects.FLOOR))
      at.append(place[point] + 0.12 * (shift - (len(attacks) - 1) / 2))
      mean.append(math.exp(logs.mean()))
      half = 0.0
      if len(logs) > 1:
        half = stats.sem(logs) * stats.t.ppf(0.975, len(logs) - 1)
      reach.append(mean[-1] * np.abs(np.exp([-half, half]) - 1))
    axis.errorbar(
      at,
      mean,
      np.array(reach).T if reach else None,
      **dict(fmt="o", ms=4, capsize=2, lw=1, color=palette[attack]),
      label=table.title(attack),
    )
  oracle = own.groupby("point").oracle.median().reindex(points)
  axis.plot(
    range(len(points)),
    oracle,
    **dict(color="#333333", ls="--", lw=1),
    label=table.title(effects.ORACLE),
  )
  if baseline in place:
    axis.axvspan(
      place[baseline] - 0.45,
      place[baseline] + 0.45,
      **dict(color="#f2f2f2", zorder=0),
    )
  accuracy = own.groupby("point").test.mean()
  axis.set_yscale("log")
  axis.set_ylim(effects.FLOOR * 0.7, 0.5)
  axis.set_xticks(
    range(len(points)),
    [f"{_short(p, len(points))}\n{100 * accuracy[p]:.0f}%" for p in points],
    fontsize=7,
  )
  axis.set_xlim(-0.6, len(points) - 0.4)


def _short(point: str, count: int) -> str:
  """A label that leaves room for its neighbours, `count` with them."""
  width = 9 if count < 6 else 6
  text = point or effects.BASELINE
  return textwrap.fill(text, width, break_long_words=False)


def ordered(points: Sequence[str], baseline: str) -> list[str]:
  """Numbers by size; else the baseline first and the rest as they come."""
  try:
    return sorted(points, key=float)
  except ValueError:
    return sorted(points, key=lambda point: point != baseline)
