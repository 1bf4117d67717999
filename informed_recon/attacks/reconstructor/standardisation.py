"""Standardisation of parameters by the shadow models' mean and spread."""

from typing import Any, NamedTuple

import numpy as np

from informed_recon.storage.store import Rows

BLOCK = 1024  # rows in memory at a time


class Standard(NamedTuple):
  """The map θ -> (θ - mean) * scale."""

  mean: Any  # (P,) float32
  scale: Any  # (P,) float32; 0 where the coordinate is constant

  def __call__(self, rows):
    return (rows - self.mean) * self.scale


def standardise(rows: Rows, ids: np.ndarray) -> Standard:
  """Mean and inverse standard deviation over the rows `ids`, in float64.

  A coordinate that does not vary beyond float32 rounding of its mean carries
  nothing and gets scale 0, not a division by (almost) nothing.
  """
  total = square = 0.0
  # Shadow models differ by little: sums of squares need a pivot near the mean.
  pivot = rows.gather(ids[:1])[0].astype(np.float64)
  for start in range(0, len(ids), BLOCK):
    shifted = rows.gather(ids[start : start + BLOCK]) - pivot
    total = total + shifted.sum(0)
    square = square + (shifted * shifted).sum(0)
  mean = total / len(ids)
  spread = np.sqrt(np.maximum(square / len(ids) - mean**2, 0))
  mean = mean + pivot
  live = spread > np.finfo(np.float32).eps * np.maximum(np.abs(mean), 1e-3)
  scale = np.where(live, 1 / np.where(live, spread, 1), 0)
  return Standard(mean.astype(np.float32), scale.astype(np.float32))
