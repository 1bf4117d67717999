"""Kappa: how often the best guess made without the model comes close.

kappa(r) = sup over z0 of P[|Z - z0| <= r], Z ~ pi, in the Euclidean norm.
Closeness as a per-pixel mean squared error eta means r = sqrt(d eta). Every
function has a `log_` twin, as kappa of an image prior is often below the
smallest float; the bounds take it as `log_kappa=`. A scalar r gives a float, an
array of radii an array.
"""

import math

import numpy as np
from scipy import special

from informed_recon.dp import checks, intervals

# Rows of the distance matrix held at once: 256 x 5,000 float64 are 10 MB.
BLOCK = 256


def uniform_ball_kappa(r, radius: float, d: int):
  """Kappa of the uniform distribution on a ball: (r / radius)^d, at most 1.

  Source: ratio of volumes; Balle, Cherubin and Hayes, 2022 (ball priors).

  Args:
    r: radius of success, in (0, inf).
    radius: of the prior's ball, in (0, inf), same units.
    d: dimensions, at least 1.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(uniform_ball_kappa(0.5, 1.0, 3), 6)
  0.125
  """
  return _exp(log_uniform_ball_kappa(r, radius, d))


def log_uniform_ball_kappa(r, radius: float, d: int):
  """Logarithm of `uniform_ball_kappa`.

  >>> round(log_uniform_ball_kappa(0.3, 1.0, 784), 2)
  -943.91
  """
  r = _radii(r)
  radius = checks.real("radius", radius, "(0, inf)", _positive_finite)
  return _answer(np.minimum(_dimensions(d) * np.log(r / radius), 0.0))


def gaussian_kappa(r, d: int):
  """Kappa of N(0, I_d): P[chi-squared with d degrees <= r^2].

  No ball of the same radius has more mass than the centred one (Anderson,
  1955). For N(0, s^2 I_d) give r / s.

  Args:
    r: radius of success, in (0, inf), in standard deviations.
    d: dimensions, at least 1.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(gaussian_kappa(1.0, 1), 4)
  0.6827
  """
  return _exp(log_gaussian_kappa(r, d))


def log_gaussian_kappa(r, d: int):
  """Logarithm of `gaussian_kappa`.

  >>> round(log_gaussian_kappa(1.0, 784), 2)
  -2224.85
  """
  r = _radii(r)
  shape = _dimensions(d) / 2
  x = r**2 / 2
  direct = special.gammainc(shape, x)
  # The regularised incomplete gamma function underflows with the mass it
  # measures; far in the lower tail its series,
  # x^a e^-x / Gamma(a + 1) * 1F1(1; a + 1; x), is written in logarithms. Near
  # and above the mode the function itself is the exact one.
  deep = direct < 1e-100
  tail = np.where(deep, x, shape)
  series = (
    shape * np.log(tail)
    - tail
    - special.gammaln(shape + 1)
    + np.log(special.hyp1f1(1.0, shape + 1, np.where(deep, tail, 0.0)))
  )
  return _answer(np.where(deep, series, np.log(np.where(deep, 1.0, direct))))


def finite_kappa(probabilities) -> float:
  """Kappa of a finite prior under 0/1 error: its largest probability.

  Source: Hayes, Mahloujifar and Balle, 2023 (prior-aware attack).

  Args:
    probabilities: one for each candidate, in [0, 1], summing to 1.

  Raises:
    ValueError: they are no distribution.

  >>> finite_kappa([0.125] * 8)
  0.125
  """
  p = np.asarray(probabilities, dtype=np.float64)
  if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)) or abs(p.sum() - 1) > 1e-9:
    raise ValueError(
      f"probabilities must lie in [0, 1] and sum to 1, got {probabilities!r}"
    )
  return float(p.max())


def log_finite_kappa(probabilities) -> float:
  """Logarithm of `finite_kappa`.

  >>> round(log_finite_kappa([0.125] * 8), 4)
  -2.0794
  """
  return math.log(finite_kappa(probabilities))


def empirical_kappa_upper(points, r, confidence: float | None = None):
  r"""Upper bound on kappa of the prior that data points stand for.

  The best guess need not be a data point, so masses of balls around data
  points alone are no bound. But a ball B of radius r that holds a point z_i
  lies inside the ball of radius 2r around z_i. Hence, without `confidence`,
  kappa(r) <= max_i (share of points within 2r of z_i) for the empirical prior,
  uniform on the points themselves.

  With `confidence` = 1 - beta the points are taken as n independent draws, and
  the bound is on kappa of the distribution they came from. Write m_i for its
  mass within 2r of z_i, and b = beta / 2.
    1. Let a ball B of radius r have mass p > 1 - b^{1/n}. All n draws miss it
       with probability (1 - p)^n < b. Otherwise it holds some z_i, so that
       p <= m_i <= max_i m_i. Taking p up to kappa: with probability at least
       1 - b, kappa <= max(1 - b^{1/n}, max_i m_i).
    2. Given z_i, the number of the other n - 1 draws within 2r of it is
       Binomial(n - 1, m_i); its Clopper-Pearson upper limit at b / n exceeds
       m_i with probability at least 1 - b / n. All n limits hold at once with
       probability at least 1 - b, and the limit grows with the count.
    The limit in 2 is above the one in 1 even for a count of 0, as
  (b / n)^{1/(n - 1)} < b^{1/n}. So kappa is at most
  CP-upper(largest count; n - 1, b / n) with probability at least 1 - beta, for
  each r by itself, not for all jointly.

  Source: derived for this project (covering and union bound); Clopper and
  Pearson, 1934.

  Args:
    points: (n, ...) data; all axes but the first are flattened. At least two.
    r: radius of success, in (0, inf), Euclidean.
    confidence: None, or in (0, 1).

  Returns:
    A bound in (0, 1] for each r.

  Raises:
    ValueError: an argument is out of its range.

  >>> empirical_kappa_upper([[0.0], [1.0], [5.0], [9.0]], 0.5)
  0.5
  """
  z = np.asarray(points, dtype=np.float64)
  if z.ndim < 2 or len(z) < 2 or not np.all(np.isfinite(z)):
    raise ValueError(
      f"points must be at least 2 rows of finite numbers, got shape {z.shape}"
    )
  r = _radii(r)
  counts = _most_neighbours(z.reshape(len(z), -1), r)
  n = len(z)
  if confidence is None:
    return _answer((counts + 1) / n)
  level = checks.real("confidence", confidence, "(0, 1)", lambda v: 0 < v < 1)
  half = (1 - level) / 2
  limits = [
    intervals.upper_limit(int(count), n - 1, half / n) for count in counts.flat
  ]
  return _answer(np.reshape(limits, counts.shape))


def log_empirical_kappa_upper(points, r, confidence: float | None = None):
  """Logarithm of `empirical_kappa_upper`.

  >>> round(log_empirical_kappa_upper([[0.0], [1.0], [5.0], [9.0]], 0.5), 4)
  -0.6931
  """
  return _answer(np.log(empirical_kappa_upper(points, r, confidence)))


def _most_neighbours(z: np.ndarray, r: np.ndarray) -> np.ndarray:
  """For each r, the most other points within 2r of any one point."""
  z = z - z.mean(axis=0)
  norms = np.einsum("nd,nd->n", z, z)
  # The expanded square loses digits; a distance that round-off could have
  # lifted over the threshold counts as within.
  slack = 1e-15 * (z.shape[1] + 10) * 4 * norms.max()
  thresholds = (2 * r) ** 2 * (1 + 1e-12) + slack
  most = np.zeros(r.shape, dtype=np.int64)
  for start in range(0, len(z), BLOCK):
    rows = slice(start, start + BLOCK)
    squares = norms[rows, None] + norms - 2 * (z[rows] @ z.T)
    for i in np.ndindex(r.shape):
      within = np.count_nonzero(squares <= thresholds[i], axis=1) - 1
      most[i] = max(most[i], within.max())
  return most


def _radii(r) -> np.ndarray:
  radii = np.asarray(r, dtype=np.float64)
  if not np.all((radii > 0) & np.isfinite(radii)):
    raise ValueError(f"r must lie in (0, inf), got {r!r}")
  return radii


def _dimensions(d) -> float:
  return checks.real(
    "d", d, "the integers from 1", lambda v: v >= 1 and v % 1 == 0
  )


def _positive_finite(value: float) -> bool:
  return 0 < value < math.inf


def _exp(log_kappa):
  return _answer(np.exp(log_kappa))


def _answer(values: np.ndarray):
  return float(values) if np.ndim(values) == 0 else values
