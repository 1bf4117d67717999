"""How many records of a set were found, where nobody says which is which.

The nearest of many always finds something: whatever is counted here wants the
same count for answers from a model of other records beside it.
"""

from typing import NamedTuple

import numpy as np

from informed_recon.evaluation import metrics

SAME = 0.95  # correlation at and above which two answers count as one


class Coverage(NamedTuple):
  """Of each record of a set, its best answer."""

  ssim: np.ndarray  # (n,) largest SSIM of an answer; NaN of what is no image
  correlation: np.ndarray  # (n,) largest normalised correlation
  answer: np.ndarray  # (n,) index of the answer with the largest correlation
  answers: int  # different ones


def coverage(found: np.ndarray, records: np.ndarray) -> Coverage:
  """Pairs each record with its nearest answer.

  Args:
    found: (m, *shape) answers, in [0, 1].
    records: (n, *shape).
  """
  kept = distinct(found)
  some = found[kept]
  correlation = _normalised(records) @ _normalised(some).T
  ssim = metrics.ssim(
    np.repeat(records, len(some), 0),
    np.concatenate([some] * len(records)),
  )
  return Coverage(
    ssim=ssim.reshape(len(records), -1).max(1),
    correlation=correlation.max(1),
    answer=kept[correlation.argmax(1)],
    answers=len(kept),
  )


def distinct(found: np.ndarray) -> np.ndarray:
  """Indices of answers no two of which are the same."""
  unit, kept = _normalised(found), []
  for i, row in enumerate(unit):
    if not kept or (unit[kept] @ row).max() < SAME:
      kept.append(i)
  return np.array(kept, int)


def _normalised(x: np.ndarray) -> np.ndarray:
  flat = x.reshape(len(x), -1).astype(np.float64)
  flat = flat - flat.mean(1, keepdims=True)
  return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
