"""Where an attack succeeds, and whether it knows where it fails."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from informed_recon.report import table
from informed_recon.report.curves import Result
from informed_recon.types import UserError

SPARED = ("training.privacy.mechanism",)  # goes without saying


def draw(results: Sequence[Result]) -> tuple[Figure, list[str]]:
  """A bar a point: the share of records found, and of answers flagged."""
  rows = [
    (_label(result.overrides), row)
    for result in results
    for row in result.results["attacks"].values()
    if "flagged_rate" in row
  ]
  if not rows:
    raise UserError(
      "the reach curve wants the stage 'simulation' or 'stationarity'"
    )
  figure = Figure(figsize=(8.6, 0.32 * len(rows) + 1), layout="constrained")
  axis = figure.add_subplot()
  for at, (_, row) in enumerate(rows):
    found = row["success_at_eta"]
    reach = np.abs(np.array(found["rate_ci95"]) - found["rate"])[:, None]
    axis.barh(at, found["rate"], xerr=reach, color="#0072b2", height=0.6)
    axis.plot(1 - row["flagged_rate"], at, "D", color="#c1272d", ms=5, zorder=3)
    axis.text(1.04, at, f"{table.number(row['mse_median'])}", va="center")
  axis.text(1.04, -0.8, "median MSE", va="center", weight="bold", fontsize=8.5)
  axis.set_yticks(range(len(rows)), [label for label, _ in rows], fontsize=8.5)
  axis.set_ylim(len(rows) - 0.5, -1.2)
  axis.set_xlim(-0.02, 1.22)
  axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
  axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
  eta = rows[0][1]["success_at_eta"]["eta"]
  axis.set_xlabel(
    f"bar: records found (MSE ≤ {eta:g}); diamond: answers vouched for"
  )
  wrong = sum(
    row.get("trusted_mse_max", 0) > row["success_at_eta"]["eta"]
    for _, row in rows
  )
  return figure, [
    f"In {sum(r['success_at_eta']['rate'] == 1 for _, r in rows)} of "
    f"{len(rows)} settings every record is found; in {wrong} the attack "
    "vouches for a record that is not right."
  ]


def _label(overrides) -> str:
  parts = [
    f"{key.split('.')[-1].replace('_', ' ')} {_value(value)}"
    for key, value in overrides.items()
    if key not in SPARED
  ]
  return ", ".join(parts)


def _value(value) -> str:
  return f"{value:.3g}" if isinstance(value, float) else str(value)
