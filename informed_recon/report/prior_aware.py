"""The prior-aware attack beside the bound on it, for people."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import (
  LogLocator,
  NullFormatter,
  PercentFormatter,
  StrMethodFormatter,
)

from informed_recon.dp import accounting, bounds
from informed_recon.experiment import Experiment
from informed_recon.report import figures, table
from informed_recon.report.attacks import Picture
from informed_recon.report.page import Page

HEADER = ("noise", "ε", "candidates", "blind guess", "measured", "bound")
HEADER += ("best possible", "ε at least", "if DP-SGD", "accuracy")
NOTE = """
99% intervals; for the accuracy of the released models 95%. Measured: share of
trials, each with its own candidates, target and training, in which the attack
named the target (Clopper-Pearson). Bound: on any attack at this noise. Best
possible: Monte-Carlo estimate of the success of the best attack on these very
candidates, from the inner products of their gradients; it is below the bound
where gradients are correlated or shorter than the clip norm, and no bound
itself. “ε at least” is what the measured success proves, at the same δ, of any
mechanism; “if DP-SGD”, what it proves of DP-SGD with this sampling and these
steps, where the noise alone is in question. In each of the two columns the
limits of all numbers of candidates at one noise hold together with 99%
confidence (Bonferroni), so that the best may be chosen. ε is for adding
or removing one record. One set of known records and one initialisation.
"""
CAPTIONS = {
  "identification": (
    "How often the target is named",
    "Points: measured, with 99% intervals. No attack can be above the line of "
    "the bound; dotted, a blind guess.",
  ),
  "audit": (
    "What the attack proves of ε",
    "Lower limits at 99% confidence, of the strongest number of candidates and "
    "corrected for that choice, against the stated ε: of any mechanism, and of "
    "DP-SGD with this sampling. Where the statement is correct, each point is "
    "on the line or below it in 99 of 100 such runs.",
  ),
  "accuracy": (
    "What the noise costs",
    "Test accuracy of the released models, mean with 95% interval.",
  ),
}


def text(results: Mapping) -> str:
  """The table for a terminal, with 99% intervals in brackets."""
  return "\n".join(
    [table.aligned([HEADER, *rows(results)]), *_verdict(results)]
  )


def page(experiment: Experiment, results: Mapping) -> Page:
  """Story, figures and table of the experiment."""
  privacy = results["privacy"]
  drawn = dict(
    identification=_identification(privacy),
    audit=_audit(privacy),
    accuracy=_accuracy(privacy),
  )
  return Page(
    story=_story(experiment, results),
    tiles=_tiles(privacy["prior_aware"]),
    pictures={k: Picture(*CAPTIONS[k], figure) for k, figure in drawn.items()},
    header=HEADER,
    rows=list(rows(results)),
    note=NOTE,
  )


def rows(results: Mapping) -> Iterator[tuple[str, ...]]:
  """One row a noise multiplier and number of candidates; cells are text."""
  for point in results["privacy"]["prior_aware"]:
    for m, row in point["identification"].items():
      yield (
        f"{point['noise_multiplier']:.3g}",
        f"{point['epsilon']:.3g}",
        m,
        table.share(row["kappa"], None),
        table.share(row["success_rate"], row["success_rate_ci99"]),
        table.share(row["success_upper"], None),
        table.share(
          row.get("bayes_optimal_estimate"),
          row.get("bayes_optimal_estimate_ci99"),
        ),
        f"{row['epsilon_lower_99']:.2f}",
        _number(row.get("epsilon_lower_dpsgd_99")),
        table.share(
          point["test_accuracy_mean"], point["test_accuracy_mean_ci95"]
        ),
      )


def _verdict(results: Mapping) -> list[str]:
  cells = [
    row
    for point in results["privacy"]["prior_aware"]
    for row in point["identification"].values()
  ]
  refuted = sum(row["refutes_the_bound"] for row in cells)
  if refuted:
    return [
      f"In {refuted} of {len(cells)} settings the measured success is above "
      "the bound beyond its 99% interval: noise or clipping are not what they "
      "are said to be."
    ]
  gaps = [row["success_upper"] - row["success_rate"] for row in cells]
  sentence = (
    f"In none of {len(cells)} settings is the measured success above the bound "
    f"beyond its 99% interval; at most it stays {max(gaps):.3f} below the bound"
  )
  if "bayes_optimal_estimate" in cells[0]:
    away = [r["bayes_optimal_estimate"] - r["success_rate"] for r in cells]
    sentence += (
      f" and {max(map(abs, away)):.3f} away from the best possible for these "
      "candidates"
    )
  return [f"{sentence}."]


def _story(experiment: Experiment, results: Mapping) -> list[str]:
  privacy, released = results["privacy"], results["released_model"]
  points = privacy["prior_aware"]
  low, high = points[0], points[-1]
  m = list(low["identification"])[-1]
  drawn = (
    "all records in each"
    if privacy["sampling_probability"] == 1
    else f"each record with probability {privacy['sampling_probability']:g}"
  )
  return [
    f"We trained {released['models']:,} models ({released['model']}, "
    f"{released['parameters']:,} parameters) with differential privacy on "
    f"{len(experiment.split.fixed) + 1:,} records of "
    f"{experiment.dataset.name}: {privacy['steps']} steps, {drawn}, "
    f"gradients clipped to norm {privacy['clip_norm']:g}. The adversary saw "
    "every step, knew all records but one and a list of candidates for it, and "
    "said which it was.",
    *_verdict(results),
    *(_outcome(point, m, privacy["delta"]) for point in (low, high)),
  ]


def _outcome(point: Mapping, m: str, delta: float) -> str:
  row = point["identification"][m]
  return (
    f"At noise multiplier {point['noise_multiplier']:.3g} "
    f"(ε = {point['epsilon']:.3g} at δ = {delta:g}) it was right among {m} "
    f"candidates in {row['success_rate']:.1%} of trials (a blind guess: "
    f"{row['kappa']:.1%}), and the models were right on "
    f"{point['test_accuracy_mean']:.1%} of unseen records."
  )


def _tiles(points: Sequence[Mapping]) -> list[tuple[str, str, str]]:
  m = list(points[0]["identification"])[-1]
  return [
    (
      f"{point['identification'][m]['success_rate']:.1%}",
      f"named among {m} at ε = {point['epsilon']:.3g}",
      f"bound {point['identification'][m]['success_upper']:.1%}, accuracy "
      f"{point['test_accuracy_mean']:.1%}",
    )
    for point in points
  ]


def _identification(privacy: Mapping) -> Figure:
  """Success against ε, a panel a number of candidates."""
  points = privacy["prior_aware"]
  sizes = list(points[0]["identification"])
  epsilons, uppers = _curve(privacy, [1 / int(m) for m in sizes])
  figure = Figure(figsize=(4.1 * len(sizes), 3.6), layout="constrained")
  axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
  x = [point["epsilon"] for point in points]
  for axis, m, upper in zip(axes, sizes, uppers.T):
    cells = [point["identification"][m] for point in points]
    rate = np.array([cell["success_rate"] for cell in cells])
    ends = np.array([cell["success_rate_ci99"] for cell in cells])
    axis.plot(epsilons, upper, color="#333333", label="bound on any attack")
    if "bayes_optimal_estimate" in cells[0]:
      axis.plot(
        x,
        [cell["bayes_optimal_estimate"] for cell in cells],
        "_",
        **dict(color="#0072b2", ms=16, mew=2, label="best possible, estimated"),
      )
    axis.errorbar(
      x,
      rate,
      [rate - ends[:, 0], ends[:, 1] - rate],
      **dict(fmt="o", color=figures.ATTACK_COLOURS[0], capsize=3),
      label="measured",
    )
    axis.axhline(1 / int(m), color="#aaaaaa", ls=":", label="blind guess")
    axis.set_title(f"{m} candidates", loc="left")
    _epsilon_axis(axis, privacy)
  axes[0].set_ylim(0, 1.03)
  axes[0].set_ylabel("target named")
  axes[0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
  axes[-1].legend(loc="upper left", fontsize=8.5)
  return figure


def _accuracy(privacy: Mapping) -> Figure:
  points = privacy["prior_aware"]
  figure = Figure(figsize=(6.2, 3.9), layout="constrained")
  axis = figure.add_subplot()
  mean = np.array([point["test_accuracy_mean"] for point in points])
  ends = np.array([point["test_accuracy_mean_ci95"] for point in points])
  axis.errorbar(
    [point["epsilon"] for point in points],
    mean,
    [mean - ends[:, 0], ends[:, 1] - mean],
    **dict(fmt="o-", color="#0072b2", capsize=3),
  )
  axis.set_ylabel("test accuracy")
  axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
  _epsilon_axis(axis, privacy)
  return figure


def _audit(privacy: Mapping) -> Figure:
  """Lower limits of ε against the stated one."""
  points = privacy["prior_aware"]
  x = [point["epsilon"] for point in points]
  figure = Figure(figsize=(6.2, 3.9), layout="constrained")
  axis = figure.add_subplot()
  axis.plot(x, x, color="#333333", label="stated")
  for name, label in (
    ("epsilon_lower_dpsgd_99", "at least, if DP-SGD"),
    ("epsilon_lower_99", "at least, of any mechanism"),
  ):
    proved = [
      max(cell.get(name) or 0.0 for cell in point["identification"].values())
      for point in points
    ]
    axis.plot(x, proved, "o--", label=label)
  axis.set_ylabel("ε")
  axis.legend(fontsize=8.5)
  _epsilon_axis(axis, privacy)
  return figure


def _number(value: float | None) -> str:
  return "–" if value is None else f"{value:.2f}"


def _epsilon_axis(axis, privacy: Mapping) -> None:
  axis.set_xscale("log")
  axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
  axis.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
  axis.xaxis.set_minor_formatter(NullFormatter())
  axis.set_xlabel(f"ε at δ = {privacy['delta']:g}")


def _curve(
  privacy: Mapping, kappas: Sequence[float], count: int = 25
) -> tuple[np.ndarray, np.ndarray]:
  """ε (count,) and bounds (count, len(kappas)) around the points' noise."""
  noise = [point["noise_multiplier"] for point in privacy["prior_aware"]]
  setting = privacy["sampling_probability"], privacy["steps"]
  sigmas = np.geomspace(max(noise) * 1.5, min(noise) / 1.5, count)
  epsilons = [
    accounting.dpsgd_epsilon(sigma, *setting, privacy["delta"])
    for sigma in sigmas
  ]
  uppers = [bounds.dpsgd_upper(kappas, sigma, *setting) for sigma in sigmas]
  return np.array(epsilons), np.array(uppers)
