"""Reconstruction error against the number of shadow models.

Points vary `split.shadow`, and seeds beside it. Each attack gets the geometric
mean over seeds of its mean error, with the 95% t interval of the logarithm
(where there is one seed: the interval over targets), and the power law
a·N^(-b), fitted by least squares of log error on log N over all points. The
nearest-neighbour oracle marks what retrieval could reach.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from matplotlib.figure import Figure

from informed_recon.report import figures, table
from informed_recon.report.curves import Result
from informed_recon.types import UserError

AXIS = "split.shadow"
METRIC = "mse_mean"
ORACLE = "nearest_neighbour_oracle"


class PowerLaw(NamedTuple):
  """error = scale · N^(-exponent)."""

  scale: float
  exponent: float
  exponent_ci95: tuple[float, float]
  r2: float  # of log error

  def __call__(self, n):
    return self.scale * np.asarray(n, float) ** -self.exponent


def power_law(n: np.ndarray, error: np.ndarray) -> PowerLaw:
  """Least squares in log-log; the interval is Student's, over the points."""
  fit = scipy.stats.linregress(np.log(n), np.log(error))
  reach = scipy.stats.t.ppf(0.975, max(len(n) - 2, 1)) * fit.stderr
  interval = (float(-fit.slope - reach), float(-fit.slope + reach))
  return PowerLaw(
    float(np.exp(fit.intercept)), float(-fit.slope), interval, fit.rvalue**2
  )


def draw(results: Sequence[Result]) -> tuple[Figure, list[str]]:
  """The figure, and what it shows in sentences."""
  if not all(AXIS in r.overrides for r in results):
    raise UserError(f"the scaling curve wants a sweep over {AXIS}")
  attacks = list(
    dict.fromkeys(k for r in results for k in r.results["attacks"])
  )
  palette = figures.colours(attacks)
  figure = Figure(figsize=(6.2, 3.9), layout="constrained")
  axis = figure.add_subplot()
  sizes, oracle, _ = _curve(results, "baselines", ORACLE)
  axis.plot(
    sizes, oracle, color=palette[ORACLE], ls="--", label=table.title(ORACLE)
  )
  sentences = []
  for name in attacks:
    n, error = _points(results, "attacks", name)
    sizes, mean, interval = _curve(results, "attacks", name)
    axis.errorbar(
      sizes,
      mean,
      np.abs(interval - mean),
      **dict(fmt="o", color=palette[name], capsize=3, label=name),
    )
    sentences.append(_says(name, sizes, mean, interval, oracle))
    if len(sizes) > 2:
      law = power_law(n, error)
      axis.plot(sizes, law(sizes), color=palette[name], lw=1.2)
      low, high = law.exponent_ci95
      sentences.append(
        f"Over these sizes its error falls as N^-{law.exponent:.2f} (95% "
        f"interval of the exponent {low:.2f} to {high:.2f}, "
        f"R² {law.r2:.2f} in log-log)."
      )
  axis.set(xscale="log", yscale="log")
  axis.set_xticks(sizes, labels=[f"{size:,}" for size in sizes], minor=False)
  axis.set_xticks([], minor=True)
  axis.set_xlabel("shadow models N")
  axis.set_ylabel("reconstruction error (MSE per pixel)")
  axis.legend(fontsize=8.5)
  return figure, sentences


def _points(results: Sequence[Result], group: str, name: str):
  """(N, error) of every point that has this row."""
  found = [
    (r.overrides[AXIS], r.results[group][name][METRIC])
    for r in results
    if name in r.results[group]
  ]
  n, error = map(np.asarray, zip(*found))
  return n, error


def _curve(results: Sequence[Result], group: str, name: str):
  """Sizes (S,), mean error (S,) and its interval (2, S)."""
  n, error = _points(results, group, name)
  sizes = np.unique(n)
  mean = np.array([scipy.stats.gmean(error[n == size]) for size in sizes])
  interval = np.empty((2, len(sizes)))
  for i, size in enumerate(sizes):
    logs = np.log(error[n == size])
    if len(logs) > 1:
      reach = scipy.stats.sem(logs) * scipy.stats.t.ppf(0.975, len(logs) - 1)
      interval[:, i] = mean[i] * np.exp([-reach, reach])
    else:
      row = next(
        r.results[group][name] for r in results if r.overrides[AXIS] == size
      )
      interval[:, i] = row[f"{METRIC}_ci95"]
  return sizes, mean, interval


def _says(name: str, sizes, mean, interval, oracle) -> str:
  low, high = interval[:, -1]
  text = (
    f"With {sizes[-1]:,} shadow models {name} has an error of "
    f"{table.number(mean[-1])} [{table.number(low)}, {table.number(high)}], "
    f"with {sizes[0]:,} {table.number(mean[0])}."
  )
  behind = np.flatnonzero(interval[1] >= oracle)
  first = behind[-1] + 1 if len(behind) else 0
  if first < len(sizes):
    return (
      f"{text} From {sizes[first]:,} on the whole interval lies below the "
      "nearest-neighbour oracle."
    )
  return f"{text} Its interval is nowhere below the nearest-neighbour oracle."
