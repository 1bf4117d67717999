"""Bounds on naming the target among a list of candidates."""

from collections.abc import Callable

import numpy as np
from scipy import optimize, stats

from informed_recon.dp import checks

# Where a bound is looked up to be turned into one for unequal candidates.
GRID = np.geomspace(1e-12, 1.0, 4000)
CENTRING_STEPS = 300


def prior_upper(probabilities, upper: Callable) -> float:
  """The success of any attack on a finite prior, from a bound in kappa.

  With S_i the releases that are answered by candidate i, success is
  sum_i pi_i P_i(S_i); each P_i(S_i) is at most B(Q(S_i)), and the Q(S_i) add up
  to 1 at most. Hence
    gamma = max sum_i pi_i B(q_i)  over q_i >= 0 with sum_i q_i <= 1,
  which is B(1/m) for m equal candidates and otherwise below B(max pi). It is
  found from its dual, min over l > 0 of l + sum_i max_q (pi_i B(q) - l q), each
  value of which is a bound, with B replaced by a polygon above it.

  Source: the argument of Hayes, Mahloujifar and Balle, 2023, candidate by
  candidate; the dual is this project's.

  Args:
    probabilities: of each candidate, in [0, 1], summing to 1.
    upper: B, an array of kappa in (0, 1] -> bounds; concave, as every bound of
      `informed_recon.dp.bounds` is.

  Raises:
    ValueError: the probabilities are no distribution.

  >>> from informed_recon.dp import bounds
  >>> round(prior_upper([0.125] * 8, lambda k: bounds.gaussian_upper(k, 1)), 4)
  0.4402
  >>> prior = [0.5] + [0.005] * 100
  >>> round(prior_upper(prior, lambda k: bounds.gaussian_upper(k, 1)), 3)
  0.504
  """
  pi = np.asarray(probabilities, dtype=np.float64)
  if pi.ndim != 1 or not np.all(pi >= 0) or not abs(pi.sum() - 1) < 1e-9:
    raise ValueError(
      f"probabilities must lie in [0, 1] and sum to 1, got {probabilities!r}"
    )
  values, counts = np.unique(pi, return_counts=True)
  q, b = _polygon_above(upper)

  def dual(log_price: float) -> float:
    price = np.exp(log_price)
    gains = [np.max(value * b - price * q) for value in values]
    return price + counts @ np.maximum(gains, 0.0)

  starts = np.linspace(-12.0, 27.0, 40)
  best = starts[np.argmin([dual(s) for s in starts])]
  found = optimize.minimize_scalar(
    dual,
    bounds=(best - 1, best + 1),
    method="bounded",
    options=dict(xatol=1e-9),
  )
  plain = float(np.asarray(upper(np.array([pi.max()])))[0])
  return min(1.0, float(found.fun), plain)


def single_release_upper(candidates: int, mu: float) -> float:
  """Naming one of m equally likely candidates from one Gaussian release.

  The candidates' means lie within mu deviations of the mean without a target.
  A coordinate more brings all of them to distance mu, in m dimensions; then
  the best regions of decision are cones, of all cones of one solid angle the
  circular one about the mean has most of its mass, and that mass is concave in
  the angle. So success is at most that of the circular cone with 1/m of all
  directions, the power at level 1/m of a one-sided t test with m - 1 degrees of
  freedom and non-centrality mu. It is Phi(mu) for m = 2, where antipodal means
  attain it, and always below `bounds.gaussian_upper(1/m, mu)`.

  One release: over several steps, gradients that depend on earlier noise may do
  better, and `bounds.gaussian_upper` is the bound.

  Source: Shannon, 1959 (cone bound on codes); its use here is this project's.

  Args:
    candidates: m, at least 2.
    mu: in [0, inf).

  Raises:
    ValueError: an argument is out of its range.

  >>> round(single_release_upper(8, 1.0), 4)
  0.4213
  """
  m = checks.real(
    "candidates",
    candidates,
    "the integers from 2",
    lambda v: 2 <= v < np.inf and v % 1 == 0,
  )
  mu = checks.real("mu", mu, "[0, inf)", lambda v: 0 <= v < np.inf)
  if mu == 0:
    return 1 / m
  power = float(stats.nct.sf(stats.t.isf(1 / m, m - 1), m - 1, mu))
  plain = float(stats.norm.cdf(stats.norm.ppf(1 / m) + mu))
  return min(plain, power) if power > 0 else plain


def gram_upper(gram):
  """Naming one of m equally likely candidates with these very gradients.

  From the inner products of the candidates' means, in units of the noise:
  `single_release_upper` at the radius of a ball that holds them all, as where
  the ball lies tells nothing. Candidates alike in their gradients are bounded
  by how they differ, not by the clip norm.

  The means are taken as given. In training they depend on the noise of earlier
  steps, so for several steps this is a bound for this path alone.

  Args:
    gram: (m, m) or a batch of them (..., m, m), positive semidefinite.

  Returns:
    A bound for each matrix.

  Raises:
    ValueError: not square or not finite.

  >>> import numpy as np
  >>> round(gram_upper(4 * np.eye(8)), 3), round(gram_upper(np.ones((8, 8))), 3)
  (0.735, 0.125)
  """
  g = np.asarray(gram, dtype=np.float64)
  if g.ndim < 2 or g.shape[-1] != g.shape[-2] or not np.all(np.isfinite(g)):
    raise ValueError(f"gram must be finite and square, got shape {g.shape}")
  m = g.shape[-1]
  if m < 2:
    return 1.0 if g.ndim == 2 else np.ones(g.shape[:-2])
  flat = g.reshape(-1, m, m)
  found = [single_release_upper(m, radius) for radius in _radii(flat)]
  return float(found[0]) if g.ndim == 2 else np.reshape(found, g.shape[:-2])


def _radii(grams: np.ndarray) -> np.ndarray:
  """Radii of balls about m points, nearly the smallest (Badoiu and Clarkson,
  2003: step towards the farthest point). Any centre gives a valid radius."""
  count, m, _ = grams.shape
  own = np.einsum("nii->ni", grams)
  weights = np.full((count, m), 1 / m)
  best = np.full(count, np.inf)
  for step in range(CENTRING_STEPS):
    along = np.einsum("nij,nj->ni", grams, weights)
    centre = np.einsum("ni,ni->n", weights, along)[:, None]
    squares = own - 2 * along + centre
    far = squares.argmax(axis=1)
    best = np.minimum(best, squares[np.arange(count), far])
    weights *= 1 - 1 / (step + 2)
    weights[np.arange(count), far] += 1 / (step + 2)
  round_off = 1e-13 * own.max(axis=1)
  return np.sqrt(np.maximum(best, 0.0) + round_off)


def _polygon_above(upper: Callable) -> tuple[np.ndarray, np.ndarray]:
  """Corners of a concave polygon that lies above B.

  Between two points a concave function lies below the prolonged chords of
  either side; they meet in a corner. The first cell starts at (0, B(q_1)).
  """
  q, b = GRID, np.asarray(upper(GRID), dtype=np.float64)
  slopes = np.diff(b) / np.diff(q)
  left, right = slopes[:-2], slopes[2:]
  at, end = q[1:-2], q[2:-1]
  bend = left - right
  safe = np.where(bend > 0, bend, 1.0)
  meet = (b[2:-1] - b[1:-2] - right * end + left * at) / safe
  meet = np.where(bend > 0, np.clip(meet, at, end), end)
  corner = b[1:-2] + np.maximum(left, 0.0) * (meet - at)
  ends_q = [0.0, q[0], q[-2]]
  ends_b = [b[0], b[1], b[-1]]
  return (
    np.concatenate([q, meet, ends_q]),
    np.concatenate([b, np.minimum(corner, 1.0), ends_b]),
  )
