"""The risk statement: what was tried, measured, proven and combined, apart."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import scipy.stats

from informed_recon.dp import intervals
from informed_recon.evaluation import roc

SECTIONS = ("tried", "measured", "proven", "combined")
LEVEL, KAPPA = 0.1, 0.01  # success to tolerate, and of a blind guess
FPR = 0.01


def text(facts: Mapping) -> str:
  """The statement in plain words."""
  parts = [facts["verdict"]]
  for name in SECTIONS:
    lines = "\n".join(f"- {line}" for line in facts[name])
    parts.append(f"{name.capitalize()}\n{lines}")
  return "\n\n".join(parts)


def facts(
  table: pd.DataFrame,
  *,
  records: int,
  tried: Sequence[str],
  notes: Sequence[str],
  answers: tuple[np.ndarray, np.ndarray] | None,
) -> dict:
  """All figures of the statement, as JSON values.

  Args:
    table: of the audit.
    records: n, of the training set.
    tried: what was done, one sentence each.
    notes: what else was measured, one sentence each.
    answers: (M, d) records and reconstructions, in scales of the features.
  """
  done = table[table.mse.notna()]
  count, sure = len(done), int(done.confident.sum())
  nearer = int((done.mse < done.oracle_mse).sum())
  measured = []
  figures = dict(records=records, searched=count, vouched_for=sure)
  if count:
    measured += [
      f"{sure} of {count} records were read out, and vouched for by the "
      f"attack itself {_interval(sure, count)}.",
      f"{nearer} of {count} reconstructions are nearer to their record than "
      f"any other record of the training set {_interval(nearer, count)}; "
      f"median MSE {done.mse.median():.3g}, nearest other record "
      f"{done.oracle_mse.median():.3g}.",
    ]
    figures |= dict(
      nearer_than_oracle=nearer,
      mse_median=float(done.mse.median()),
      oracle_mse_median=float(done.oracle_mse.median()),
    )
  if sure:
    worst = float(done.mse[done.confident].max())
    measured.append(
      f"Worst MSE among the records vouched for: {worst:.3g}. Single records: "
      "see the table; no average hides them."
    )
    figures |= dict(confident_mse_max=worst)
  if answers is not None and len(answers[0]) > 1:
    own, null = roc.errors(*answers)
    tpr = roc.tpr_at_fpr(own, null, FPR)
    measured.append(
      f"TPR at {FPR:.0%} FPR, against reconstructions of other records: "
      f"{tpr:.0%}."
    )
    figures |= dict(tpr_at_fpr={f"{FPR:g}": tpr})
  combined = []
  influence = table.influence.dropna()
  if len(influence) and influence.max() > 0:
    # A release moved by Δ, with Gaussian noise s: success is at most
    # Φ(Φ⁻¹(κ) + Δ/s) against this one alternative (dp.bounds.gaussian_upper).
    mu = scipy.stats.norm.ppf(LEVEL) - scipy.stats.norm.ppf(KAPPA)
    noise = float(influence.max() / mu)
    combined.append(
      f"Gaussian noise of standard deviation {noise:.3g} on every released "
      f"parameter would keep success at {LEVEL:.0%} where a blind guess has "
      f"{KAPPA:.0%}, were the largest influence measured here "
      f"({influence.max():.3g}, record {table.record[influence.idxmax()]}) the "
      "largest there is. That is measured, not proven: it is no guarantee."
    )
    figures |= dict(influence_max=float(influence.max()), output_noise=noise)
  return dict(
    verdict=_verdict(count, sure, nearer, records),
    tried=list(tried),
    measured=measured + list(notes),
    proven=[
      "Nothing. No bound below 1 holds for a training without noise of a known "
      "mechanism; `informed-recon privacy` states the bounds of DP-SGD at a "
      "declared prior."
    ],
    combined=combined or ["Nothing."],
    figures=figures,
  )


def _verdict(count: int, sure: int, nearer: int, records: int) -> str:
  if not count:
    return f"No verdict: none of {records} records could be searched for."
  if sure:
    return (
      f"Records can be read out of this release: {sure} of {count} searched "
      f"(of {records}) were, by an adversary who knows all the others."
    )
  if nearer:
    return (
      f"No record is vouched for; {nearer} of {count} reconstructions are "
      "nearer to their record than any other record is."
    )
  return (
    f"None of {count} records (of {records}) was read out. That proves nothing "
    "about a better attack."
  )


def _interval(hits: int, count: int) -> str:
  low, high = intervals.clopper_pearson(hits, count)
  return f"(95% interval {low:.0%} to {high:.0%})"
