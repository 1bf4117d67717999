"""What an attack must beat: guesses that need no network, or no weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
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
  penalties = [unit * g for g in RIDGE_GRID]
  with jax.enable_x64(True):
    # Where models are few their products serve both fits.
    products = _products(x) if count < x.shape[1] else None
    some = None if products is None else products[:cut, :cut]
    part = _normal_equations(x[:cut], y[:cut], some)
    other = _seen(part, x[cut:])
    losses = [_loss(part, other, y[cut:], penalty) for penalty in penalties]
    penalty = penalties[int(np.argmin(losses))]
    del part, other  # and copies of x, which may be gigabytes
    weights, intercept = _solution(_normal_equations(x, y, products), penalty)
  return Ridge(standard, weights, intercept, penalty)


class _NormalEquations(NamedTuple):
  """(gram + λ I) c = right gives W = c, or W = Xᵀ c in dual form."""

  x: Any  # (N, P) float32, centred
  x_mean: Any  # (P,)
  y_mean: Any  # (d,)
  gram: Any  # XᵀX (P, P), or XXᵀ (N, N), float64
  right: Any  # XᵀY (P, d), or Y (N, d)

  @property
  def dual(self) -> bool:
    return len(self.x) < self.x.shape[1]


def _products(x: np.ndarray):
  """XXᵀ (N, N)."""
  x = _libraries()[0].asarray(x)
  return x @ x.T


def _normal_equations(x: np.ndarray, y: np.ndarray, products=None):
  """`_NormalEquations` of x and y; `products`: XXᵀ, where it is there."""
  numpy, _ = _libraries()
  x, y = numpy.asarray(x), numpy.asarray(y)
  x_mean, y_mean = x.mean(0), y.mean(0)
  x, y = x - x_mean, y - y_mean
  if len(x) < x.shape[1]:
    gram = (x @ x.T if products is None else products).astype(np.float64)
    gram, right = gram - gram.mean(0), y
    gram = gram - gram.mean(1, keepdims=True)
  else:
    gram, right = (x.T @ x).astype(np.float64), x.T @ y
  return _NormalEquations(x, x_mean, y_mean, gram, right)


def _solve(gram, right, penalty: float):
  """(gram + penalty I)⁻¹ right, in float64."""
  numpy, linalg = _libraries()
  shifted = gram + penalty * numpy.eye(len(gram))
  factor = linalg.cho_factor(shifted, overwrite_a=True, check_finite=False)
  found = linalg.cho_solve(factor, right, check_finite=False)
  return found.astype(np.float32)


def _solution(equations: _NormalEquations, penalty: float):
  """Weights (P, d) and intercept (d,)."""
  weights = _solve(equations.gram, equations.right, penalty)
  if equations.dual:
    weights = equations.x.T @ weights
  intercept = equations.y_mean - equations.x_mean @ weights
  return np.asarray(weights), np.asarray(intercept)


def _seen(equations: _NormalEquations, x):
  """Other models (M, P) as `_loss` takes them: centred (M, P), or in dual form
  their products with the models of the equations (N, M)."""
  x = _libraries()[0].asarray(x) - equations.x_mean
  return equations.x @ x.T if equations.dual else x


def _loss(equations: _NormalEquations, seen, y, penalty: float) -> float:
  """Mean squared error on other models; in dual form without the weights."""
  numpy, _ = _libraries()
  if equations.dual:
    # Fewer right sides than pixels: these models are a tenth of the others.
    guess = _solve(equations.gram, seen, penalty).T @ equations.right
  else:
    guess = seen @ _solve(equations.gram, equations.right, penalty)
  return float(numpy.mean(((guess + equations.y_mean).clip(0, 1) - y) ** 2))


def _libraries():
  """NumPy and LAPACK on a CPU, where XLA's own Cholesky is slower; the
  accelerator's otherwise."""
  if jax.default_backend() == "cpu":
    return np, scipy.linalg
  return jnp, jax.scipy.linalg
