"""Whether a record that the closed form found may be vouched for.

A record is vouched for where three things hold, none of which needs the truth:

1. What can be checked agrees: M has rank one (K > 1), and an admissible
   response explains r (classes, whole numbers, a known label or label set).
2. `error`, the standard error of each feature, is a small part of the column's
   spread. Errors of M make it: rounding of the weights and of the sums, and
   what the solver left of the gradient, as far as somebody measured it
   (`leftover`). With three classes or more, what M lacks of rank one measures
   the rounding that was only estimated.
3. The answer is one that a record may be. A single-output regression with an
   intercept and free real responses leaves nothing over to check: (x, y) solves
   d + 1 equations in d + 1 unknowns whatever the weights are. There
   `checked` is False, and a record that would have moved the model more than
   the known ones do (Cook 1977) is not vouched for. That such a model was
   fitted to the optimum has to come from the adversary.
"""

import jax
import numpy as np

from informed_recon.attacks.convex import inputs, missing
from informed_recon.types import Reconstruction

# A record counts as recovered when its self-check, relative to the size of the
# known records' columns, stays below this. A single output has one equation
# left over at most, which a wrong record may fulfil by chance.
TOLERANCE = 1e-4
TOLERANCE_SINGLE = 1e-5
TOLERANCE_COARSE = 1e-2  # weights that were rounded to float32 or less
TOLERANCE_SEVERAL = 1e-2  # three classes or more check each feature twice
# Largest standard error of a trusted record's features, as a share of their
# columns' spread: the root mean square over features, and of any one.
EXPECTED_ERROR, WORST_ERROR = 0.01, 0.03
# A trusted record that nothing checks moves the model at most 1.2 + 100 / n
# times as far as the known record that moves it most (one of few records may
# well stand out), and lies at most this many times as far out.
LEVERAGE = 5.0
# Real responses further outside the known ones than this many of their ranges
# are taken for the sum over all records that an unfitted model leaves behind.
RANGES = 10.0
UNCHECKED = (
  "not checked: any weights of such a model lead to some record, so that this "
  "one is right only if they are at the optimum of the objective stated here "
  "(weights given to the fit do not show, nor does a known record that is "
  "wrong)"
)


def tolerance(problem: inputs.Problem) -> float:
  """The self-check that a trusted record must stay below."""
  if problem.tolerance is not None:
    return problem.tolerance
  if problem.precision > 1e-12:
    return TOLERANCE_COARSE
  if _calibrated(problem):
    return TOLERANCE_SEVERAL
  return TOLERANCE if problem.weights.shape[-2] > 1 else TOLERANCE_SINGLE


def _calibrated(problem: inputs.Problem) -> bool:
  """Whether M's lack of rank one measures its errors: at least one equation a
  feature beyond those that softmax's outputs, which sum to 0, repeat."""
  return problem.weights.shape[-2] > 2 and problem.intercept is not None


def verdict(
  problem, x, y, code, link, rank, floor, error, checked=None
) -> Reconstruction:
  """Names the response and says whether the record may be trusted.

  `checked` says whether something besides the model checks it.
  """
  limit = tolerance(problem)
  lost = int(np.sum(np.isnan(x)))
  residual = max(float(link), float(rank), float(floor))
  reasons = []
  if lost == len(x):
    reasons.append("no feature is left to read")
  elif not floor <= limit:
    reasons.append(
      "the target's gradient does not stand above rounding: it is fitted "
      "perfectly, or its loss is flat there"
    )
  else:
    if not rank <= limit:
      reasons.append("the missing gradient is not of rank one")
    if not link <= limit:
      reasons.append("no admissible response explains the missing gradient")
    if reasons:
      reasons.append(
        "the weights are not at the optimum (stopped early?), or the known "
        "records or the penalty are not those of the training"
      )
  if not reasons:
    reasons += too_uncertain(problem, error)
  if len(problem.labels):
    label = problem.labels[int(code)]
  else:
    y = y + 0.0  # 0.0 in place of -0.0
    label = problem.unit * (y.item() if y.size == 1 else y)
    if np.any(y < problem.family.minimum):
      reasons.append("the recovered response lies outside the family's range")
    if len(problem.y):
      low, high = problem.y.min(axis=0), problem.y.max(axis=0)
      reach = RANGES * (high - low + np.abs(high) + np.abs(low))
      if np.any((y < low - reach) | (y > high + reach)):
        reasons.append("the recovered response is far from all known ones")
  if problem.norm is not None and not reasons:
    gap = abs(np.linalg.norm(x) - problem.norm) / problem.norm
    residual = max(residual, gap)
    if not gap <= limit:
      reasons.append("the recovered features do not have the known norm")
  checked = checked or problem.redundant
  if not reasons and not checked and _moves_too_much(problem, x, y):
    reasons.append(
      "a record like the recovered one would move the model more than any "
      "known record does: the weights are not at the optimum, or the known "
      "records, their weights or the penalty are not those of the training"
    )
  identifiable = not reasons
  if lost:
    reasons.append(
      f"{lost} features lost: the l1 penalty holds their weights at zero"
    )
  return Reconstruction(
    x=np.asarray(x),
    y=label,
    identifiable=identifiable,
    residual=residual,
    candidates=((np.asarray(x), label),),
    message="; ".join(reasons),
    error=np.asarray(error),
    checked=checked,
  )


def noted(found: Reconstruction, *notes: str) -> Reconstruction:
  """The same with notes added to its message."""
  said = filter(None, [found.message, *notes])
  return found._replace(message="; ".join(said))


def doubted(found: Reconstruction, *reasons: str) -> Reconstruction:
  """The same, not vouched for where there are reasons."""
  kept = found.identifiable and not reasons
  return noted(found, *reasons)._replace(identifiable=kept)


def too_uncertain(problem: inputs.Problem, error) -> list[str]:
  """Why the standard errors (d,) forbid to trust a record, if they do."""
  share = error / missing.column_spread(problem.x)
  share = share[~np.isnan(share)]
  if not share.size:  # nothing was unknown
    return []
  expected = float(np.sqrt(np.mean(share**2)))
  if expected <= EXPECTED_ERROR and np.max(share) <= WORST_ERROR:
    return []
  what = "the gradient that the solver leaves behind"
  if problem.decimals is not None:
    what = f"the rounding of the weights to {problem.decimals} decimals"
  elif not np.any(problem.leftover[0]):
    what = "the rounding of the weights"
  return [
    f"{what} hides the record: expected error {expected:.1g} of a column's "
    "spread"
  ]


def _moves_too_much(problem: inputs.Problem, x, y) -> bool:
  """Cook's distance and leverage of (x, y) beside the known records'."""
  kept = ~np.isnan(x)
  n, d = len(problem.x), kept.sum()
  if n < d + 2:
    return False
  bias = 0.0 if problem.intercept is None else problem.intercept
  z, own = np.column_stack([problem.x[:, kept], np.ones(n)]), [*x[kept], 1.0]
  unit = np.sqrt(np.mean(z**2, axis=0))
  unit[unit == 0] = 1.0
  z, own = z / unit, own / unit
  inverse = np.linalg.pinv(z.T @ z / n, hermitian=True)
  known_h = problem.x @ problem.weights.T + bias
  h = problem.weights[:, kept] @ x[kept] + bias
  with jax.enable_x64(True):
    known = jax.vmap(problem.family.residual)(known_h, problem.y)
    mine = problem.family.residual(h, np.atleast_1d(y))
  known = np.asarray(known)[:, 0] * problem.sample_weight
  mine = float(np.asarray(mine)[0]) * problem.target_weight
  leverage = np.einsum("ij,jk,ik->i", z, inverse, z)
  moved = np.max(known**2 * leverage)
  far = own @ inverse @ own
  return bool(
    mine**2 * far > (1.2 + 100 / n) * moved or far > LEVERAGE * leverage.max()
  )
