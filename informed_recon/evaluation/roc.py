"""Does a reconstruction come from the weights? TPR at a fixed FPR.

A generic image can lie close to a target without anything having leaked, so a
success rate alone misleads (Maciążek & Allison 2025). Here the null
hypothesis is a reconstruction from weights that know nothing of the target:

  TPR(τ) = P(error ≤ τ | the target's own weights)
  FPR(τ) = P(error ≤ τ | another target's weights)
"""

import numpy as np

from informed_recon.dp import intervals
from informed_recon.evaluation import metrics

MAX_NULLS = 200  # null pairs a target


def errors(
  truth: np.ndarray, guess: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Per-pixel MSE under both hypotheses.

  Returns:
    (M,) errors of each target's own reconstruction and (M, R) errors of the
    reconstructions from R other targets' weights.
  """
  count = len(truth)
  matrix = metrics.pairwise_mse(truth, guess)
  shifts = np.unique(
    np.linspace(1, count - 1, min(MAX_NULLS, count - 1)).astype(int)
  )
  others = (np.arange(count)[:, None] + shifts) % count
  return np.diag(matrix).copy(), np.take_along_axis(matrix, others, 1)


def tpr_at_fpr(own: np.ndarray, null: np.ndarray, fpr: float) -> float:
  """Largest TPR(τ) over thresholds with FPR(τ) ≤ fpr; NaN without nulls."""
  if not null.size:
    return float("nan")
  allowed = int(np.floor(fpr * null.size))
  if allowed >= null.size:
    return 1.0
  # One null more would be accepted at this value: stay strictly below it.
  limit = np.partition(null.ravel(), allowed)[allowed]
  return float(np.mean(own < limit))


def tpr_at_fpr_ci95(
  own: np.ndarray, null: np.ndarray, fpr: float
) -> tuple[float, float]:
  """95% interval of the TPR, a share of targets at a threshold that the null
  pairs decide: the bootstrap over targets with all their null pairs, which
  moves the threshold, widened to the Clopper-Pearson interval at a fixed one,
  which does not shrink to a point where all or no targets are recognised."""
  low, high = metrics.bootstrap(
    lambda i: tpr_at_fpr(own[i], null[i], fpr), len(own), resamples=200
  )
  hits = round(tpr_at_fpr(own, null, fpr) * len(own))
  least, most = intervals.clopper_pearson(hits, len(own))
  return min(low, least), max(high, most)


def curve(own: np.ndarray, null: np.ndarray, points: int = 200):
  """The ROC: arrays (fpr, tpr), fpr log-spaced down to one null pair."""
  fprs = np.geomspace(1 / null.size, 1, points)
  order = np.sort(null.ravel())
  limits = order[np.minimum((fprs * null.size).astype(int), null.size - 1)]
  tprs = np.searchsorted(np.sort(own), limits, side="left") / len(own)
  tprs[-1] = 1.0
  return fprs, tprs
