"""What the answers of one attack are worth: a row of results.json.

Every mean has its 95% bootstrap interval over the targets beside it, every
share of targets its 95% Clopper-Pearson interval.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from informed_recon.dp import intervals
from informed_recon.evaluation import identification, metrics, roc
from informed_recon.types import Answers


def summary(errors: Mapping[str, np.ndarray]) -> dict:
  """Means with intervals, and the median error, as JSON values.

  Args:
    errors: of `metrics.per_target`; one that holds NaN has no mean.
  """
  row = dict(targets=len(errors["mse"]))
  row["mse_median"] = float(np.median(errors["mse"]))
  for name in errors:
    if np.isnan(errors[name]).any():
      row[f"{name}_mean"] = row[f"{name}_mean_ci95"] = None
      continue
    mean, interval = metrics.mean_ci95(errors[name])
    row[f"{name}_mean"], row[f"{name}_mean_ci95"] = mean, list(interval)
  return row


def share(hits: np.ndarray) -> tuple[float, list[float]]:
  """Share of True among (M,) booleans, with its 95% interval."""
  interval = intervals.clopper_pearson(int(hits.sum()), len(hits))
  return float(np.mean(hits)), list(interval)


def success(mse: np.ndarray, oracle: np.ndarray, eta: float) -> dict:
  """How many targets are recovered.

  Args:
    mse: (M,) error of the attack.
    oracle: (M,) error of the nearest known record; success is to be nearer.
    eta: the fixed threshold, beside that of the oracle.
  """
  rate, interval = share(mse < oracle)
  eta_rate, eta_interval = share(mse <= eta)
  return dict(
    success_rate=rate,
    success_rate_ci95=interval,
    success_at_eta=dict(eta=eta, rate=eta_rate, rate_ci95=eta_interval),
  )


def identified(
  truth: np.ndarray, guess: np.ndarray, sizes: Sequence[int], seed: int
) -> dict:
  """How often the target is told from decoys; a blind guess is right 1/m."""
  hits = identification.identified(truth, guess, sizes, seed)
  shares = {str(m): share(h) for m, h in hits.items()}
  return dict(
    identification={m: rate for m, (rate, _) in shares.items()},
    identification_ci95={m: interval for m, (_, interval) in shares.items()},
  )


def recognised(
  truth: np.ndarray, guess: np.ndarray, fprs: Sequence[float]
) -> dict:
  """TPR at each false-positive rate; see `evaluation.roc`. Of one target
  nothing: no other's weights are there to compare with."""
  if len(truth) < 2:
    return {}
  own, null = roc.errors(truth, guess)
  return dict(
    tpr_at_fpr={f"{f:g}": roc.tpr_at_fpr(own, null, f) for f in fprs},
    tpr_at_fpr_ci95={
      f"{f:g}": list(roc.tpr_at_fpr_ci95(own, null, f)) for f in fprs
    },
  )


def trust(
  answers: Answers, mse: np.ndarray, labels: np.ndarray, eta: float
) -> dict:
  """What the attack's own verdict is worth: how often it declines, and the
  worst of what it vouches for.

  Args:
    answers: of an attack that says which of them it vouches for.
    mse: (M,) error of its answers.
    labels: (M,) of the targets, integers where they are classes.
    eta: the error up to which an answer with the right label is right.
  """
  trusted = answers.identifiable
  rate, interval = share(~trusted)
  row = dict(flagged_rate=rate, flagged_rate_ci95=interval)
  if trusted.any():
    row |= dict(trusted_mse_max=float(mse[trusted].max()))
  if answers.y is None or not np.issubdtype(labels.dtype, np.integer):
    return row
  right = answers.y == labels
  rate, interval = share(right)
  wrong = trusted & ~(right & (mse <= eta))
  row |= dict(label_accuracy=rate, label_accuracy_ci95=interval)
  row |= dict(trusted_wrong=int(wrong.sum()))
  if trusted.any():
    row |= dict(trusted_wrong_labels=int((~right)[trusted].sum()))
  return row


def unguarded(
  answers: Answers, truth: np.ndarray, labels: np.ndarray, eta: float
) -> dict:
  """What the answers are worth that an attack declines to vouch for, had it
  given what it computed.

  Args:
    answers: with `identifiable` and `unguarded`.
    truth: (M, *shape) the targets.
    labels: (M,) of the targets, integers where they are classes.
    eta: the error up to which an answer with the right label is right.
  """
  flagged = ~answers.identifiable
  if not flagged.any():
    return {}
  off = answers.unguarded.astype(np.float64) - truth
  mse = np.mean(off**2, axis=tuple(range(1, truth.ndim)))
  right = mse <= eta  # what is infinite or no number is not
  if answers.y is not None and np.issubdtype(labels.dtype, np.integer):
    right &= answers.y == labels
  rate, interval = share(right[flagged])
  finite = np.where(np.isfinite(mse), mse, np.inf)[flagged]
  return dict(
    unguarded=dict(
      records=int(flagged.sum()),
      right_rate=rate,
      right_rate_ci95=interval,
      mse_median=float(np.median(finite)),
    )
  )
