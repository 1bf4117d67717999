"""What an attack must beat: guesses that need no network, or no weights."""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from informed_recon.attacks.reconstructor.standardisation import (
  Standard,
  standardise,
)
from informed_recon.evaluation import metrics
from informed_recon.storage.store import Rows

RIDGE_GRID = tuple(10.0**k for k in range(-3, 5))  # times the mean eigenvalue


class Oracle(NamedTuple):
  """The nearest record to each target among all that the adversary holds."""

  index: np.ndarray  # (M,) into the adversary's records
  mse: np.ndarray  # (M,) float64 per-pixel distance


def mean_image(records: np.ndarray, count: int) -> np.ndarray:
  """The mean of the adversary's records, once for each of `count` targets."""
  mean = records.mean(0, dtype=np.float64).astype(np.float32)
  return np.repeat(mean[None], count, 0)


def nearest_neighbour_oracle(
  targets: np.ndarray, records: np.ndarray
) -> Oracle:
  """The adversary's record closest to each target, chosen knowing the target.

  Balle, Cherubin, Hayes (2022): it uses the target, so it is no attack but
  the mark that separates reconstruction from retrieval.
  """
  index = np.empty(len(targets), np.int64)
  for start in range(0, len(targets), 256):
    part = targets[start : start + 256]
    index[start : start + len(part)] = metrics.pairwise_mse(
      part, records
    ).argmin(1)
  error = (
    (targets - records[index]).reshape(len(targets), -1).astype(np.float64)
  )
  return Oracle(index, np.mean(error**2, axis=1))


class Ridge(NamedTuple):
  """Linear map from released parameters to records."""

  standard: Standard
  weights: np.ndarray  # (P, d)
  intercept: np.ndarray  # (d,)
  penalty: float

  def __call__(self, theta: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    flat = self.standard(theta) @ self.weights + self.intercept
    return flat.clip(0, 1).astype(np.float32).reshape(len(theta), *shape)


def ridge(
  rows: Rows, records: np.ndarray, *, shadows: int, holdout: float = 0.1
) -> Ridge:
  """Ridge regression from standardised parameters to records.

  Minimises ‖Y - ȳ - X W‖² + λ‖W‖² over the first `shadows` shadow models, in
  primal or dual form, whichever is smaller. λ is chosen from `RIDGE_GRID` on
  the last `holdout` of them, then W is refitted on all.
  """
  count = min(shadows, len(rows))
  ids = np.arange(count)
  standard = standardise(rows, ids)
  x = standard(rows.gather(ids))
  y = records[:count].reshape(count, -1).astype(np.float32)
  cut = count - max(1, int(holdout * count))
  unit = float(np.einsum("ij,ij->", x, x, dtype=np.float64)) / min(x.shape)
  unit = unit or 1.0  # all models equal: any penalty gives the mean record

  solve, penalties = _solver(x[:cut], y[:cut]), [unit * g for g in RIDGE_GRID]
  losses = []
  for penalty in penalties:
    weights, intercept = solve(penalty)
    guess = (x[cut:] @ weights + intercept).clip(0, 1)
    losses.append(float(np.mean((guess - y[cut:]) ** 2)))
  penalty = penalties[int(np.argmin(losses))]
  del solve  # and its copy of x, which may be gigabytes
  weights, intercept = _solver(x, y)(penalty)
  return Ridge(standard, weights, intercept, penalty)


def _solver(x: np.ndarray, y: np.ndarray):
  """penalty -> (weights, intercept); the Gram matrix is computed once."""
  x_mean, y_mean = x.mean(0), y.mean(0)
  xc, yc = x - x_mean, y - y_mean
  dual = len(x) < x.shape[1]
  gram = (xc @ xc.T if dual else xc.T @ xc).astype(np.float64)
  right = yc if dual else xc.T @ yc

  def solve(penalty: float):
    shifted = gram + penalty * np.eye(len(gram))
    factor = scipy.linalg.cho_factor(
      shifted, overwrite_a=True, check_finite=False
    )
    half = scipy.linalg.cho_solve(factor, right).astype(np.float32)
    weights = xc.T @ half if dual else half
    return weights, y_mean - x_mean @ weights

  return solve
