"""Reconstruction error against the noise on released coefficients.

Points vary `convex.noise`. The upper panel has each attack's median error with
the Fisher-information floor for unbiased attacks, the lower one the share of
targets identified among candidates with the differential-privacy bound.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from informed_recon.report import figures, table
from informed_recon.report.curves import Result
from informed_recon.types import UserError

AXIS = "convex.noise"
MEAN = "mean_image"


def draw(results: Sequence[Result]) -> tuple[Figure, list[str]]:
  """The figure, and what it shows in sentences."""
  if not all(AXIS in r.overrides for r in results):
    raise UserError(f"the noise curve wants a sweep over {AXIS}")
  results = sorted(results, key=lambda r: r.overrides[AXIS])
  scales = [r.overrides[AXIS] for r in results]
  rows = [r.results for r in results]
  attacks = list(rows[0]["attacks"])
  palette = figures.colours(attacks)
  figure = Figure(figsize=(6.4, 6.6), layout="constrained")
  errors, found = figure.subplots(2, sharex=True)
  for name in attacks:
    median = [r["attacks"][name]["mse_median"] for r in rows]
    errors.plot(scales, median, "o-", ms=4, color=palette[name], label=name)
  floor = [r["released_model"]["fisher_mse_median"] for r in rows]
  errors.plot(scales, floor, ":", color="#333333", label="Fisher information")
  mean = [r["baselines"][MEAN]["mse_median"] for r in rows]
  errors.plot(scales, mean, "--", color=palette[MEAN], label=table.title(MEAN))
  errors.set(xscale="log", yscale="log", ylabel="median MSE per pixel")
  errors.legend(fontsize=8.5)
  size = max(rows[0]["attacks"][attacks[0]]["identification"], key=int)
  for name in attacks:
    rate = np.array([r["attacks"][name]["identification"][size] for r in rows])
    limits = np.array(
      [r["attacks"][name]["identification_ci95"][size] for r in rows]
    ).T
    found.errorbar(
      scales,
      rate,
      np.abs(limits - rate),
      **dict(fmt="o-", ms=4, capsize=3, color=palette[name], label=name),
    )
  upper = [r["privacy"]["success_upper"][size]["tight"] for r in rows]
  found.plot(scales, upper, color="#333333", lw=1.1, label="upper bound")
  found.axhline(1 / int(size), color="#aaaaaa", ls="--", label="blind guess")
  found.set(xlabel="noise on every coefficient", ylim=(-0.02, 1.04))
  found.set_ylabel(f"identified among {size}")
  found.yaxis.set_major_formatter(PercentFormatter(1))
  found.legend(fontsize=8.5)
  return figure, [_says(name, scales, rows) for name in attacks]


def _says(name: str, scales, rows) -> str:
  """The largest noise under which an attack's median beats the mean image."""
  beats = [
    (scale, row)
    for scale, row in zip(scales, rows, strict=True)
    if row["attacks"][name]["mse_median"] < row["baselines"][MEAN]["mse_median"]
  ]
  if not beats:
    return f"{name} beats the mean image at no noise of the sweep."
  scale, row = beats[-1]
  return (
    f"{name} beats the mean image up to noise of {scale:g} (median MSE "
    f"{table.number(row['attacks'][name]['mse_median'])}), where epsilon is "
    f"{row['privacy']['epsilon']:.3g} and the model's accuracy "
    f"{table.share(row['released_model']['test_accuracy_mean'], None)}."
  )
