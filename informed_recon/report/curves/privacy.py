"""Reconstruction success against the privacy of training.

Points vary epsilon or the noise. Beside what each attack attains stand the
upper bounds that no attack exceeds, the blind guess kappa, and the accuracy
that the released model keeps. A point without a guarantee is drawn at the
right edge, as epsilon = inf.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from informed_recon.dp import audit, converse, intervals, overview
from informed_recon.report import figures, table
from informed_recon.report.curves import Result
from informed_recon.types import UserError

CONFIDENCE = 0.99  # of what is said about measured success and its bound
ORACLE, MEAN = "nearest_neighbour_oracle", "mean_image"
LINES = {"tight": "-", "rdp": ":", "epsilon_delta": "-."}


def draw(results: Sequence[Result]) -> tuple[Figure, list[str]]:
  """The figure, and what it shows in sentences."""
  found = [r.results for r in results]
  if not all("kappa" in r["privacy"] for r in found):
    raise UserError(
      "the privacy curve wants points trained with a privacy mechanism"
    )
  if any(r["released_model"]["test_accuracy_mean"] is None for r in found):
    raise UserError("the privacy curve wants a split.accuracy of at least 1")
  found = sorted(found, key=_epsilon)
  epsilons = _axis(found)
  scores = list(found[0]["privacy"]["kappa"])
  attacks = list(found[0]["attacks"])
  palette = figures.colours(attacks)
  figure = Figure(figsize=(11, 7), layout="constrained")
  axes = figure.subplots(2, max(len(scores), 3))
  for axis, score in zip(axes[0], scores):
    _success(axis, epsilons, found, attacks, score, palette)
  _errors(axes[1, 0], epsilons, found, attacks, palette)
  _accuracy(axes[1, 1], epsilons, found)
  _proved(axes[1, 2], epsilons, found, attacks, scores, palette)
  for axis in [*axes[0, len(scores) :], *axes[1, 3:]]:
    axis.remove()
  for axis in figure.axes:
    axis.set_xscale("log")
    axis.set_xlabel("ε")
    if not np.isfinite(_epsilon(found[-1])):
      axis.axvline(epsilons[-1], color="#cccccc", lw=0.8)
      axis.annotate(
        "no noise",
        (epsilons[-1], 1.0),
        xycoords=("data", "axes fraction"),
        ha="center",
        va="bottom",
        fontsize=8,
      )
  return figure, [
    *(_falls(found, name) for name in attacks),
    *(_enough(found, name, score) for name in attacks for score in scores),
    _holds(found, attacks, scores),
  ]


def _epsilon(row: Mapping) -> float:
  epsilon = row["privacy"]["epsilon"]
  return np.inf if epsilon is None else epsilon


def _axis(found: Sequence[Mapping]) -> np.ndarray:
  """Where each point is drawn; infinity is a step beyond the largest."""
  epsilons = np.array([_epsilon(r) for r in found])
  finite = epsilons[np.isfinite(epsilons)]
  edge = 10 * finite.max() if len(finite) else 1.0
  return np.where(np.isfinite(epsilons), epsilons, edge)


def _rate(row: Mapping, score: str) -> tuple[int, int]:
  """Successes and trials of one attack."""
  rate = (
    row["success_at_eta"]["rate"]
    if score == "eta"
    else row["identification"][score]
  )
  return round(rate * row["targets"]), row["targets"]


def _success(axis, epsilons, found, attacks, score, palette):
  for name in attacks:
    counts = [_rate(r["attacks"][name], score) for r in found]
    rate = np.array([k / n for k, n in counts])
    limits = np.array(
      [
        intervals.clopper_pearson(k, n, confidence=CONFIDENCE)
        for k, n in counts
      ]
    ).T
    axis.errorbar(
      epsilons,
      rate,
      np.abs(limits - rate),
      **dict(fmt="o", ms=4, capsize=3, color=palette[name], label=name),
    )
  uppers = [_uppers(r["privacy"], r["privacy"]["kappa"][score]) for r in found]
  for bound, style in LINES.items():
    label = {"tight": "upper bound", "rdp": "by RDP"}.get(bound, "by (ε, δ)")
    for colour, which in (("#bbbbbb", "loose"), ("#333333", bound)):
      if which == "loose" and bound == "tight":
        continue
      line = [
        u[f"{bound}_loose" if which == "loose" else bound] for u in uppers
      ]
      name = f"{label}, loose" if which == "loose" else label
      axis.plot(epsilons, line, style, color=colour, lw=1.1, label=name)
  kappa = [r["privacy"]["kappa"][score] for r in found]
  axis.plot(epsilons, kappa, "--", color="#aaaaaa", label="blind guess κ")
  eta = found[0]["attacks"][attacks[0]]["success_at_eta"]["eta"]
  what = f"MSE ≤ {eta:g}" if score == "eta" else f"identified among {score}"
  axis.set(ylim=(-0.02, 1.04))
  axis.set_title(what, fontsize=10, pad=14)
  axis.yaxis.set_major_formatter(PercentFormatter(1))
  if score == "eta":
    axis.legend(fontsize=8)


def _uppers(privacy: Mapping, kappa: float) -> dict[str, float]:
  """All bounds; "loose" are the two as they are found in the literature: by the
  first term of the divergence (full batch), and by one direction alone."""
  found = overview.all_upper(privacy, kappa)
  epsilon, sigma = privacy["epsilon"], privacy["noise_multiplier"]
  one_way = np.inf if epsilon is None else epsilon
  loose = kappa * np.exp(min(one_way, 700.0)) + privacy["delta"]
  found["epsilon_delta_loose"] = min(1.0, loose)
  found["rdp_loose"] = found["rdp"]
  if privacy["sampling_probability"] == 1 and sigma:
    gap = np.sqrt(-np.log(kappa)) - np.sqrt(privacy["steps"] / 2) / sigma
    found["rdp_loose"] = float(np.exp(-(max(gap, 0.0) ** 2)))
  return found


def _proved(axis, epsilons, found, attacks, scores, palette):
  """What identification proves of ε, beside what is stated.

  Each line takes the best of the scores, so they share the error (Bonferroni).
  """
  named = [score for score in scores if score != "eta"]
  confidence = 1 - (1 - CONFIDENCE) / max(len(named), 1)
  for name in attacks:
    proved = []
    for row in found:
      p = row["privacy"]
      setting = p["sampling_probability"], p["steps"], p["delta"], confidence
      limits = [
        audit.dpsgd_epsilon_lower(
          *_rate(row["attacks"][name], score), p["kappa"][score], *setting
        )
        for score in named
      ]
      proved.append(max([x for x in limits if np.isfinite(x)], default=0.0))
    axis.plot(epsilons, proved, "o--", color=palette[name], ms=4, label=name)
  axis.plot(epsilons, epsilons, color="#333333", lw=1.1, label="stated ε")
  axis.set_yscale("symlog", linthresh=1)
  axis.set_title("ε at least (99%)", fontsize=10, pad=14)
  axis.legend(fontsize=8)


def _errors(axis, epsilons, found, attacks, palette):
  rows = [("attacks", name) for name in attacks]
  rows += [("baselines", name) for name in (ORACLE, MEAN)]
  for group, name in rows:
    mean = np.array([r[group][name]["mse_mean"] for r in found])
    limits = np.array([r[group][name]["mse_mean_ci95"] for r in found]).T
    style = dict(fmt="o-", ms=4) if group == "attacks" else dict(fmt="--")
    axis.errorbar(
      epsilons,
      mean,
      np.abs(limits - mean),
      **style | dict(color=palette[name], capsize=2),
      label=table.title(name),
    )
  axis.set_title("reconstruction error (MSE per pixel)", fontsize=10, pad=14)
  axis.set_ylim(bottom=0)
  axis.legend(fontsize=8)


def _accuracy(axis, epsilons, found):
  released = [r["released_model"] for r in found]
  mean = np.array([r["test_accuracy_mean"] for r in released])
  limits = np.array([r["test_accuracy_mean_ci95"] for r in released]).T
  axis.errorbar(
    epsilons, mean, np.abs(limits - mean), fmt="o-", ms=4, color="#009e73"
  )
  axis.set_title("accuracy of the released model", fontsize=10, pad=14)
  axis.yaxis.set_major_formatter(PercentFormatter(1))


def _named(row: Mapping) -> str:
  epsilon = _epsilon(row)
  return f"ε = {round(epsilon, 3):g}" if np.isfinite(epsilon) else "no noise"


def _keeps(row: Mapping) -> str:
  released = row["released_model"]
  low, high = released["test_accuracy_mean_ci95"]
  return (
    f"{released['test_accuracy_mean']:.1%} accuracy [{low:.1%}, {high:.1%}]"
  )


def _falls(found: Sequence[Mapping], name: str) -> str:
  """Where an attack is no better than the mean image."""

  def better(row):
    mine = row["attacks"][name]["mse_mean_ci95"][1]
    return mine < row["baselines"][MEAN]["mse_mean_ci95"][0]

  fallen = [r for r in found if not better(r)]
  if not fallen:
    return f"At no ε of the sweep does {name} fall to the mean image."
  last = fallen[-1]
  row, mean = last["attacks"][name], last["baselines"][MEAN]
  low, high = row["mse_mean_ci95"]
  return (
    f"At {_named(last)} {name} is no better than the mean image (MSE "
    f"{table.number(row['mse_mean'])} [{table.number(low)}, "
    f"{table.number(high)}] against {table.number(mean['mse_mean'])}); the "
    f"released model keeps {_keeps(last)}, without noise {_keeps(found[-1])}."
  )


def _enough(found: Sequence[Mapping], name: str, score: str) -> str:
  """The least noise at which success cannot be told from a blind guess."""
  what = "MSE below η" if score == "eta" else f"identification among {score}"
  blind = [
    r
    for r in found
    if intervals.clopper_pearson_lower(
      *_rate(r["attacks"][name], score), confidence=CONFIDENCE
    )
    <= r["privacy"]["kappa"][score]
  ]
  if not blind:
    return f"{name}, {what}: above a blind guess at every ε of the sweep."
  row = blind[-1]
  upper = row["privacy"]["success_upper"][score]["tight"]
  return (
    f"{name}, {what}: at {_named(row)} (noise multiplier "
    f"{row['privacy']['noise_multiplier']:.3g}) no better than a blind guess, "
    f"though the bound still allows an attack {upper:.0%}; the model keeps "
    f"{_keeps(row)}."
  )


def _holds(
  found: Sequence[Mapping], attacks: Sequence[str], scores: Sequence[str]
) -> str:
  """Whether measured success stays below the bounds."""
  broken = [
    f"{name} at {_named(row)} ({score})"
    for row in found
    for name in attacks
    for score in scores
    if converse.refuted(
      *_rate(row["attacks"][name], score),
      row["privacy"]["success_upper"][score]["tight"],
      confidence=CONFIDENCE,
    )
  ]
  if broken:
    return f"Success ABOVE ITS BOUND: {', '.join(broken)}."
  checks = len(found) * len(attacks) * len(scores)
  return (
    f"In none of {checks} comparisons is measured success above the upper "
    f"bound, at {CONFIDENCE:.0%} confidence."
  )
