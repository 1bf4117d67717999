"""The risk statement: what was tried, measured, proven and combined, apart."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats

from informed_recon.dp import intervals, planner
from informed_recon.evaluation import roc
from informed_recon.types import UserError

SECTIONS = ("tried", "measured", "proven", "combined", "remedies")
LEVEL, KAPPA = 0.1, 0.01  # success to tolerate, and of a blind guess
FPR = 0.01
UNIT = "in squared spreads of the features, for images in squared ranges"


class Guarantee(NamedTuple):
  """What the developer declares of a training by DP-SGD, and of a record.

  In each step every record takes part with probability q, its gradient is
  clipped to a norm C, and Gaussian noise of standard deviation σ C is added to
  the sum (`informed_recon.dp.accounting`). Nothing of it is checked.
  """

  noise_multiplier: float  # σ; 0: there is no noise yet
  sampling_probability: float  # q
  steps: int  # T
  kappa: float = KAPPA  # success of the best guess without the model
  prior: str = ""  # in words: where records come from, for `kappa` to hold
  max_success: float = LEVEL  # that would be tolerated
  delta: float = 1e-5


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
  hurried: bool = False,
) -> dict:
  """All figures of the statement, as JSON values.

  Args:
    table: of the audit.
    records: n, of the training set.
    tried: what was done, one sentence each.
    notes: what else was measured, one sentence each.
    answers: (M, d) records and reconstructions, in scales of the features.
    hurried: whether a stronger attack was possible, had there been time.
  """
  done = table[table.ended]
  count, sure = len(done), int(done.confident.sum())
  short = int((table.attack != "none").sum()) - count
  near, blind = nearer(done)
  measured = []
  figures = dict(
    records=records, searched=count, cut_short=short, vouched_for=sure
  )
  if count:
    measured += [
      f"{sure} of {count} records were read out, and vouched for by the "
      f"attack itself {_interval(sure, count)}.",
      f"{near} of {count} reconstructions are nearer to their record than "
      f"any other record of the training set {_interval(near, count)}; of the "
      f"blind guesses, the mean of other records (of its class), {blind} "
      "are.",
      f"Median MSE {done.mse.median():.3g}, of the nearest other record "
      f"{done.oracle_mse.median():.3g}, of the blind guess "
      f"{done.blind_mse.median():.3g}: {UNIT}.",
    ]
    figures |= dict(
      nearer_than_oracle=near,
      blind_nearer_than_oracle=blind,
      mse_median=float(done.mse.median()),
      oracle_mse_median=float(done.oracle_mse.median()),
      blind_mse_median=float(done.blind_mse.median()),
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
    verdict=_verdict(count, short, sure, near, blind, records, hurried),
    tried=list(tried),
    measured=measured + list(notes),
    proven=[
      "Nothing. No bound below 1 holds for a training without noise of a known "
      "mechanism; `informed-recon privacy` states the bounds of DP-SGD at a "
      "declared prior."
    ],
    combined=combined or ["Nothing."],
    remedies=["None was measured (variants=)."],
    figures=figures,
  )


def nearer(done: pd.DataFrame) -> tuple[int, int]:
  """How many answers, and how many guesses without the model, are nearer to
  their record than any other record is."""
  return tuple(
    int((done[column] < done.oracle_mse).sum())
    for column in ("mse", "blind_mse")
  )


def proven(given: Guarantee, records: int) -> tuple[list[str], dict]:
  """What follows from a declared mechanism, as sentences and as figures.

  Relation: a record is added to those that the adversary knows.

  Raises:
    UserError: a declaration that makes no sense.
  """
  sigma, q, steps = given[:3]
  try:
    now = planner.forward(sigma, q, steps, given.delta, given.kappa)
    wanted = planner.plan(given.max_success, q, steps, given.delta, given.kappa)
  except ValueError as error:
    raise UserError(f"guarantee: {error}") from None
  said = f"DP-SGD (q = {q:g}, {steps} steps), as declared and not checked"
  guess = f"where the best guess without the model has {given.kappa:.3g}" + (
    f" ({given.prior})" if given.prior else ""
  )
  bound = (
    f"noise multiplier {wanted.noise_multiplier:.4g} keeps the success of any "
    f"attack at {given.max_success:.3g} {guess}; ε = {wanted.epsilon:.3g} at "
    f"δ = {given.delta:g}."
  )
  lines = [f"Nothing: the training has no noise. Under {said}, {bound}"]
  if sigma > 0:
    warnings = planner.warnings_of(now, q, steps, given.delta, records)
    lines = [
      f"Under {said}, noise multiplier {sigma:g}, no attack reconstructs a "
      f"record more often than {now.success_upper:.3g} {guess}; ε = "
      f"{now.epsilon:.3g} at δ = {given.delta:g}.",
      f"Likewise, {bound}",
      "This is of an adversary who does not know the noise; one who has the "
      "key that it was drawn from knows it (key_known).",
      *(f"Mind: {warning}." for warning in warnings),
    ]
  return lines, dict(
    guarantee=given._asdict(),
    success_upper=now.success_upper if sigma > 0 else 1.0,
    noise_multiplier_wanted=wanted.noise_multiplier,
  )


def with_remedies(facts: Mapping, table: pd.DataFrame) -> dict:
  """The facts with what other trainings were measured to change."""
  lines = []
  for row in table.itertuples():
    score = "" if np.isnan(row.score) else f", score {row.score:.4g}"
    lines.append(
      f"{row.remedy}: {row.read_out} of {row.searched} read out "
      f"{_interval(row.read_out, row.searched)}, {row.nearer} nearer than any "
      f"other record (blind guesses: {row.blind}), median MSE {row.mse:.3g}, "
      f"median influence {row.influence:.3g}{score}."
      if row.searched
      else f"{row.remedy}: no search came to its end."
    )
  rows = table.astype(object).where(table.notna(), None).to_dict("records")
  figures = dict(facts["figures"], remedies=rows)
  return dict(facts, remedies=lines, figures=figures)


def with_cost(facts: Mapping, score: float, noisy: float) -> dict:
  """The facts with what the noise of "combined" was measured to cost."""
  line = (
    f"With that noise the score is {noisy:.4g}, without it {score:.4g}: "
    "measured, mean of some draws."
  )
  figures = dict(facts["figures"], score=score, score_with_noise=noisy)
  return dict(facts, combined=[*facts["combined"], line], figures=figures)


def _verdict(
  count: int,
  short: int,
  sure: int,
  near: int,
  blind: int,
  records: int,
  hurried: bool,
) -> str:
  if short and not count:
    begun = "search begun was" if short == 1 else "searches begun were"
    return (
      f"No verdict: the {short} {begun} cut short by time; give it more "
      "minutes."
    )
  if not count:
    return f"No verdict: none of {records} records could be searched for."
  if sure:
    return (
      f"Records can be read out of this release: {sure} of {count} searched "
      f"(of {records}) were, by an adversary who knows all the others."
    )
  if intervals.clopper_pearson(near, count)[0] > blind / count:
    return (
      f"No record is vouched for; {near} of {count} reconstructions are nearer "
      f"to their record than any other record is, of blind guesses {blind}."
    )
  if hurried:
    return (
      "No verdict: there was no time for the attack that simulates the "
      f"training; give it more minutes. Shadow models read out none of {count} "
      "records."
    )
  return (
    f"None of {count} records (of {records}) was read out. That proves nothing "
    "about a better attack."
  )


def _interval(hits: int, count: int) -> str:
  low, high = intervals.clopper_pearson(hits, count)
  return f"(95% interval {low:.0%} to {high:.0%})"
