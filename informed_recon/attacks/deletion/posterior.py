"""A record read out of a gradient that is known with noise.

The gradient of one record, with respect to the kernel and bias of a layer that
the record feeds, is the rank-one matrix x̃ δᵀ with x̃ = [x; 1] and δ the loss's
derivative by the layer's outputs. The adversary has seen

  G = x̃ δᵀ + E,        cov(vec E) = A ⊗ B / tr A + Σ_j vec F_j (vec F_j)ᵀ,

and takes the record for a draw from N(μ, Σ), of the public records' moments.
In coordinates where A is the identity and Σ is diagonal, and after dividing B
out, G is v bᵀ and noise that is white but for the F_j. Where the response is a
class, δ is a function of the record: Levenberg-Marquardt steps find the
likeliest record of each class, and the curvature there its error (Laplace).
Where δ may be anything, its direction is that of the first singular vector, its
size c has a grid, and the answer is a mixture of Gaussians.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg, special
from sklearn import covariance

SCALES = np.geomspace(1e-3, 1e3, 601)  # of c, over its likely size
COARSE = 0.1  # share of the posterior at one c that asks for a finer grid
TINY = 1e-14  # relative width of the finest
FLOOR = 1e-2  # of the noise in any direction, over its mean
STEPS = 30  # of Levenberg-Marquardt
FAILURES = 10  # dampings tried in one
ENOUGH = 1e-4  # of -2 log posterior density, that a step must gain


LOUD = 2.0  # times the noise that the second singular value may be
LOST = 0.7  # share of the gradient left, above which little was understood
UNCHECKED = (
  "the record is as good as its stated error, if the public records are of the "
  "training records' distribution, which nothing checks"
)


class Seen(NamedTuple):
  """A gradient and its noise; D entries of x̃, W outputs of the layer."""

  gradient: np.ndarray  # (D, W)
  rows: np.ndarray  # (D, D) A
  columns: np.ndarray  # (W, W) B; of the trace of A
  directions: np.ndarray  # (J, D, W) F


class Prior(NamedTuple):
  """The moments of x̃: an entry 1 has no variance."""

  means: np.ndarray  # (C, D) one a label, or one
  covariance: np.ndarray  # (D, D) about them


class Reading(NamedTuple):
  """What a label makes of the gradient."""

  x: np.ndarray  # (D,) posterior mean of x̃
  error: np.ndarray  # (D,) posterior standard deviation
  delta: np.ndarray  # (W,) δ
  residual: float  # share of the gradient that x̃ δᵀ leaves
  unexplained: float  # second singular value over what noise alone would give


def covariances(inputs: np.ndarray, changes: np.ndarray, factor: float):
  """A (D, D) and B (W, W) of `factor` times the covariance of x̃ᵢ dᵢᵀ.

  Args:
    inputs: (m, D) x̃ᵢ of public records.
    changes: (m, W) dᵢ.
    factor: variance of the whole sum of such terms, over that of one term.
  """
  sizes = np.linalg.norm(changes, axis=1, keepdims=True)
  lengths = np.linalg.norm(inputs, axis=1, keepdims=True)
  parts = []
  for values in (inputs * sizes, changes * lengths):
    part, _ = covariance.ledoit_wolf(values, assume_centered=True)
    least = FLOOR * np.trace(part) / len(part)
    parts.append(factor * (part + least * np.eye(len(part))))
  return parts


def prior(
  inputs: np.ndarray, labels: np.ndarray | None, count: int, bias: bool
) -> Prior:
  """Moments of public records (m, D), about their label's mean.

  `labels` (m,) lie in [0, count); None where the response is real.
  """
  if labels is None:
    labels = np.zeros(len(inputs), int)
  everyone = inputs.mean(0)
  means = np.stack(
    [
      inputs[labels == k].mean(0) if (labels == k).any() else everyone
      for k in range(count)
    ]
  )
  d = inputs.shape[1] - bias
  spread = np.zeros((inputs.shape[1],) * 2)
  spread[:d, :d] = covariance.ledoit_wolf((inputs - means[labels])[:, :d])[0]
  return Prior(means, spread)


def read(
  seen: Seen,
  known: Prior,
  labels: Sequence[int] = (),
  delta: Callable[[np.ndarray, int], np.ndarray] | None = None,
  slope: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> list[Reading]:
  """One reading for each label, or one where the response is real.

  Args:
    seen: the gradient and its noise.
    known: the public records' moments.
    labels: indices into the prior's means to try.
    delta: (x̃, label) -> δ (W,), which settles what the singular vectors leave
      open; None where δ may be anything.
    slope: (x̃, label) -> its derivative (W, D).
  """
  white = _whiten(seen, known)
  free = _free(white, known.means.mean(0))
  if delta is None:
    return [_with_residual(free, seen)]
  return [
    _with_residual(
      _of_class(
        white,
        known.means[label],
        free.x,
        lambda x, k=label: np.asarray(delta(x, k)),
        lambda x, k=label: np.asarray(slope(x, k)),
      ),
      seen,
    )
    for label in labels
  ]


def _with_residual(reading: Reading, seen: Seen) -> Reading:
  """Of all measures tried, the plain norm tells labels apart best."""
  left = seen.gradient - np.outer(reading.x, reading.delta)
  share = np.linalg.norm(left) / np.linalg.norm(seen.gradient)
  return reading._replace(residual=float(share))


def said(best: Reading, several: bool) -> str:
  """What a user should know of an answer, chosen from `several` or not."""
  doubts = [UNCHECKED]
  if best.unexplained > LOUD:
    doubts.append(
      "the difference of the two models is not one record's: they differ in "
      "more, or the public records are of another distribution"
    )
  if several and best.residual > LOST:
    doubts.append(
      f"a share of {best.residual:.2f} of the gradient is left: the record is "
      "lost in the noise, its label and stated error with it"
    )
  return "; ".join(doubts)


class _White(NamedTuple):
  """`Seen` in coordinates of white noise."""

  matrix: np.ndarray  # (D, W)
  variance: np.ndarray  # (D,) of the record
  basis: np.ndarray  # (D, D) x̃ to coordinates, from the right
  back: np.ndarray  # (D, D) coordinates to x̃, from the left
  half: np.ndarray  # (W, W) δ = half b
  directions: np.ndarray  # (D, W, J)
  inner: np.ndarray  # (J, J) inverse of I + FᵀF

  def clean(self, matrix) -> np.ndarray:
    """A matrix (D, W) over the covariance of the noise."""
    along = np.einsum("dwj,dw->j", self.directions, matrix)
    return matrix - self.directions @ (self.inner @ along)

  @property
  def unexplained(self) -> float:
    """Second singular value over what noise alone would leave."""
    singular = np.linalg.svd(self.clean(self.matrix), compute_uv=False)
    noise = sum(np.sqrt(self.matrix.shape))
    return float(singular[1] / noise) if len(singular) > 1 else 0.0


def _whiten(seen: Seen, known: Prior) -> _White:
  variance, basis = linalg.eigh(known.covariance, seen.rows)
  half = linalg.cholesky(seen.columns / np.trace(seen.rows), lower=True)

  def white(matrix):
    return linalg.solve_triangular(half, matrix.T @ basis, lower=True).T

  count = len(seen.directions)
  directions = np.zeros((*seen.gradient.shape, count))
  for j, direction in enumerate(seen.directions):
    directions[..., j] = white(direction)
  flat = directions.reshape(seen.gradient.size, count)
  inner = np.linalg.inv(np.eye(flat.shape[1]) + flat.T @ flat)
  return _White(
    white(seen.gradient),
    np.maximum(variance, 0),
    basis,
    seen.rows @ basis,
    half,
    directions,
    inner,
  )


def _of_class(white: _White, mean, start, delta, slope) -> Reading:
  """The likeliest record of one class, from `start` or the class's mean.

  `delta` and `slope` give δ (W,) of x̃ and its derivative (W, D). The record is
  x̃ = mean + back √variance t with t white.
  """
  root = np.sqrt(white.variance)
  lift = white.back * root  # t to x̃
  seen = root > 0
  first = np.zeros(len(root))
  first[seen] = ((start - mean) @ white.basis)[seen] / root[seen]

  def misfit(t):
    x = mean + lift @ t
    own = delta(x)
    b = linalg.solve_triangular(white.half, own, lower=True)
    gap = white.matrix - np.outer(x @ white.basis, b)
    clean = white.clean(gap)
    return float(np.sum(gap * clean) + t @ t), x, own, b, clean

  def curvature(x, b):
    """JᵀQJ + I of the t, with J of all (D, W) numbers, and what Jᵀ is made
    of."""
    v = x @ white.basis
    turn = linalg.solve_triangular(white.half, slope(x) @ lift, lower=True)
    cross = np.outer(root * v, b @ turn)
    matrix = np.diag(b @ b * root**2) + cross + cross.T
    matrix = matrix + v @ v * turn.T @ turn
    along = root[:, None] * (white.directions.transpose(0, 2, 1) @ b)
    along = along + turn.T @ np.einsum("d,dwj->wj", v, white.directions)
    matrix = matrix - along @ white.inner @ along.T + np.eye(len(root))
    return matrix, v, turn

  best = None
  for t in (first, np.zeros(len(root))):
    cost, x, own, b, clean = misfit(t)
    damping = 1e-3
    for _ in range(STEPS):
      matrix, v, turn = curvature(x, b)
      downhill = root * (clean @ b) + turn.T @ (v @ clean) - t
      for _ in range(FAILURES):
        ridge = damping * np.diag(np.diag(matrix))
        move = linalg.solve(matrix + ridge, downhill, assume_a="pos")
        new = misfit(t + move)
        if new[0] < cost:
          break
        damping *= 10
      else:
        break
      gain, t = cost - new[0], t + move
      cost, x, own, b, clean = new
      damping /= 10
      if gain < ENOUGH:
        break
    if best is None or cost < best[0]:
      best = cost, t, x, own, b
  _, _, x, own, b = best
  factor = linalg.cholesky(curvature(x, b)[0], lower=True)
  error = linalg.solve_triangular(factor, lift.T, lower=True)
  error = np.sqrt(np.sum(error**2, 0))
  return Reading(x, error, own, np.nan, white.unexplained)


def _free(white: _White, mean) -> Reading:
  """The record where δ may be anything but its direction."""
  clean = white.clean(white.matrix)
  _, singular, right = np.linalg.svd(clean, full_matrices=False)
  middle, variance = mean @ white.basis, white.variance
  likely = np.sqrt(middle @ middle + variance.sum())
  sizes = singular[0] / likely * np.concatenate([-SCALES[::-1], SCALES])
  while True:
    c = sizes[:, None]
    spread = 1 + c**2 * variance
    gap = white.matrix @ right[0] - c * middle
    log_density = -0.5 * np.sum(gap**2 / spread + np.log(spread), 1)
    weight = special.softmax(log_density)
    best = np.argmax(weight)
    near = sizes[max(best - 2, 0)], sizes[min(best + 2, len(sizes) - 1)]
    if weight[best] < COARSE or not np.ptp(near) > TINY * abs(sizes[best]):
      break
    sizes = np.linspace(*near, len(SCALES))
  moves = c * variance * gap / spread
  centre = weight @ moves
  error = white.back**2 @ (weight @ (variance / spread))
  error = error + weight @ ((moves - centre) @ white.back.T) ** 2
  return Reading(
    mean + white.back @ centre,
    np.sqrt(error),
    white.half @ right[0] * (weight @ sizes),
    np.nan,
    white.unexplained,
  )
