"""Which records of a set that was found may be vouched for.

The set has the residual of a single record, ρ = ‖explain(x, y) - b‖ / ‖base -
b‖, with b what is seen (P,) and `base` what would be seen without the k unknown
records of d features. Where nearly as many numbers are unknown as are seen,
wrong records explain most of what is seen as well, since only P - k d numbers
are to spare. So ρ √(P / (P - k d)) must be small.

A record is judged by its standard error. With r what is left, s² = ‖r‖² /
(P - k d) is the variance of a number, and s² (JᵀJ)⁻¹ is the covariance of all
features of all records. What the next step would still move counts as error as
well. J is `explain`'s derivative and takes k d products.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks import identifiability
from informed_recon.attacks.sets import step as steps

EXPLAINED = 1e-3  # ρ √(P / (P - k d)) at and below which a set counts as found
PRECISE = 0.01  # standard error over the range of features, to vouch for
NEAR = 0.2  # rms distance over the range, of records of one label to vouch for
STRAY = 3.0  # standard errors that features may lie out of bounds
ROUNDING = 8.0  # units of the last place that training itself is unsure of
# The least eigenvalue that counts, over the largest: of the mean of JᵀJ over
# columns, and of JᵀJ, which is the square of `identifiability.RANK`.
MEAN_RANK, RANK = 1e-5, identifiability.RANK**2
HIDDEN = 1e-5  # share of a feature along directions that do not count


class Verdict(NamedTuple):
  """On each of k records."""

  identifiable: np.ndarray  # (k,) bool
  error: np.ndarray  # (k,) rms standard error a feature; inf: not told
  products: int  # with the Jacobian
  message: str  # why not all are identifiable; empty where all are


def judge(explain: steps.Explain, seen, x, y, residual, bounds) -> Verdict:
  """Of records x (k, d), not clipped, with labels y that leave ρ = `residual`
  of what is seen (P,)."""
  low, high = bounds
  numbers, (k, _) = len(seen), x.shape
  spare = numbers - x.size
  error, products, why = np.full(k, np.inf), 0, ""
  if not residual * np.sqrt(numbers / spare) <= EXPLAINED:
    why = f"no {k} records were found that explain what is seen"
    why += f" (a share of {residual:.1e} is left, {spare} numbers to spare)"
  elif 8 * numbers * x.size > identifiability.MEMORY:
    why = f"{x.size} unknowns are too many to tell the error of each"
  else:
    rows, left = jax.device_get(_jacobian(explain, seen, x, y))
    rows, left, products = rows.astype(float), left.astype(float), x.size
    slope, noise = (rows @ left)[:, None], _noise(left, seen, x.size)
    each = _error(rows @ rows.T, slope, noise, RANK).reshape(x.shape)
    error = np.sqrt(np.mean(np.square(each), 1))
  x = np.asarray(x)
  right = (error <= PRECISE * (high - low)) & ~_alike(x, y, high - low)
  right &= _stray(x, bounds) <= STRAY * error + 1e-3
  if not (why or right.all()):
    why = f"{(~right).sum()} of {k} records are not told well enough"
  return Verdict(right, error, products, why)


def doubt(explain: steps.Explain, seen, x, y, bounds) -> np.ndarray:
  """(k,) which records are least sure, in k products: about the squared
  standard error of each, and how far it is out of bounds."""
  gram, slope, left = (np.asarray(a, float) for a in _gram(explain, seen, x, y))
  error = _error(gram, slope, _noise(left, seen, x.size), MEAN_RANK)
  return error**2 + _stray(x, bounds) ** 2


def _error(square, slope, noise: float, least: float) -> np.ndarray:
  """(m,) standard errors by JᵀJ or a mean of it, (m, m), with the gradient that
  is left, (m, ...)."""
  values, vectors = np.linalg.eigh(square)
  told = values > least * values[-1]
  hidden = np.square(vectors[:, ~told]).sum(1) > HIDDEN
  values, vectors = values[told], vectors[:, told]
  variance = noise**2 * np.square(vectors) @ (1 / values)
  undone = vectors @ ((vectors.T @ slope) / values[:, None])
  error = np.sqrt(variance + np.mean(np.square(undone), 1))
  return np.where(hidden, np.inf, error)


def _noise(left, seen, unknowns: int) -> float:
  """Standard deviation of what is left in a number."""
  eps = float(jnp.finfo(seen.dtype).eps)
  floor = ROUNDING * eps * float(jnp.abs(seen).max())
  return np.linalg.norm(left) / np.sqrt(len(seen) - unknowns) + floor


def _stray(x, bounds) -> np.ndarray:
  """(k,) rms distance of records from the bounds."""
  x = np.asarray(x)
  return np.sqrt(np.mean((x - x.clip(*bounds)) ** 2, 1))


def _alike(x, y, extent: float) -> np.ndarray:
  """(k,) records of one label that are near each other. Two that are the same
  and x + v, x - v in their place differ in what is seen by the square of v
  alone, which the linear error does not know of."""
  square = np.mean((x[:, None] - x[None]) ** 2, -1)
  close = (square < (NEAR * extent) ** 2) & (y[:, None] == y[None])
  return close.sum(1) > 1


@functools.partial(jax.jit, static_argnums=0)
def _jacobian(explain, seen, x, y):
  """Jᵀ (k d, P), and what is left (P,)."""
  rows = identifiability.columns(lambda x: explain(x, y), x)
  return rows, explain(x, y) - seen


@functools.partial(jax.jit, static_argnums=0)
def _gram(explain, seen, x, y):
  """`steps.gram` (k, k), the gradient that is left (k, d), and what is left
  (P,)."""
  left, forward = jax.linearize(lambda x: explain(x, y) - seen, x)
  slope = jax.linear_transpose(forward, x)(left)[0]
  return steps.gram(forward, x), slope, left
