"""What reconstruction says about privacy, and privacy about squared error."""

import math
from collections.abc import Sequence

import numpy as np

from informed_recon.dp import checks, intervals


def epsilon_lower(
  successes: int,
  trials: int,
  kappa: float,
  delta: float = 0.0,
  confidence: float = 0.95,
) -> float:
  """Lower confidence limit on epsilon from measured reconstructions.

  If gamma >= p, then epsilon >= log((p - delta) / kappa) and, by the other
  direction, epsilon >= log((1 - kappa - delta) / (1 - p)), whichever is more;
  p is the Clopper-Pearson lower limit. Holds with the stated confidence over
  repetitions of independent trials.

  Relation: add or remove one record; the mechanism is (epsilon', delta)-DP for
  no epsilon' below the answer.
  Source: converse of the bounds of Balle, Cherubin and Hayes, 2022; interval
  of Clopper and Pearson, 1934.

  Args:
    successes: trials in which the reconstruction came within eta.
    trials: independent trials, each with its own target and training.
    kappa: blind success at the same eta, in (0, 1]; too large a value errs on
      the safe side, too small a value does not.
    delta: in [0, 1].
    confidence: in (0, 1).

  Returns:
    Nats, in [0, inf); 0 where the measurement says nothing.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(epsilon_lower(60, 100, 0.01), 3)
  3.938
  """
  kappa = checks.real("kappa", kappa, "(0, 1]", lambda v: 0 < v <= 1)
  delta = checks.real("delta", delta, "[0, 1]", lambda v: 0 <= v <= 1)
  success = intervals.clopper_pearson_lower(successes, trials, confidence)
  ratios = [1.0]
  if success > delta:
    ratios.append((success - delta) / kappa)
  if success < 1:
    ratios.append((1 - kappa - delta) / (1 - success))
  return math.log(max(ratios))


def refuted(
  successes: int, trials: int, gamma: float, confidence: float = 0.99
) -> bool:
  """Whether measured reconstructions refute a claimed bound on success.

  So when the lower end of the two-sided Clopper-Pearson interval exceeds the
  claim: where the claim holds, in at most (1 - confidence) / 2 of repetitions.

  Source: Clopper and Pearson, 1934.

  Args:
    successes: trials in which the reconstruction came within eta.
    trials: independent trials, each with its own target and training.
    gamma: the claimed upper bound on success, in [0, 1].
    confidence: of the two-sided interval, in (0, 1).

  Raises:
    ValueError: an argument is out of its range.

  >>> refuted(60, 100, 0.5), refuted(70, 100, 0.5)
  (False, True)
  """
  gamma = checks.real("gamma", gamma, "[0, 1]", lambda v: 0 <= v <= 1)
  return intervals.clopper_pearson(successes, trials, confidence)[0] > gamma


def mse_lower(radii: Sequence[float], gammas: Sequence[float]) -> float:
  """Lower bound on the expected squared error of any reconstruction.

  E |z - z_hat|^2 = integral of 2 r P[error > r] dr, and P[error > r] is at
  least 1 - gamma(kappa(r)). As that falls with r, its value at the right end
  of each interval gives a sum below the integral, for any set of radii:
  sum_i (r_i^2 - r_{i-1}^2) (1 - gamma_i), r_0 = 0.

  Relation: that of the gammas.
  Source: the tail formula for expectations, applied to the bounds above.

  Args:
    radii: increasing, in (0, inf), in the norm's own units (for a per-pixel
      MSE of eta in d dimensions, r = sqrt(d eta)).
    gammas: an upper bound on success within each radius, in [0, 1].

  Returns:
    The bound in squared units of the radii, summed over features; divide by d
    for a mean over them.

  Raises:
    ValueError: an argument is out of its range.

  >>> mse_lower([1.0, 2.0], [0.5, 1.0])
  0.5
  """
  r = np.asarray(radii, dtype=np.float64)
  gamma = np.asarray(gammas, dtype=np.float64)
  if r.ndim != 1 or not np.all(np.diff(r, prepend=0.0) > 0):
    raise ValueError(f"radii must lie in (0, inf) and increase, got {radii!r}")
  if gamma.shape != r.shape or not np.all((gamma >= 0) & (gamma <= 1)):
    raise ValueError(
      f"gammas must lie in [0, 1], one for each of radii, got {gammas!r}"
    )
  return float(np.sum(np.diff(r**2, prepend=0.0) * (1 - gamma)))


def van_trees_lower(information, prior_information) -> float:
  """Lower bound on the expected squared error, by Fisher information.

  E |z - z_hat|^2 >= tr (J + J_pi)^{-1}, J the information of the release about
  the record, in expectation over the prior, J_pi that of the prior itself. A
  release g(z) + s N(0, I) has J = E[Dg^T Dg] / s^2; releases add up. A prior
  N(0, V) has J_pi = V^{-1}; so has any prior whose density falls smoothly to 0.
  Unlike `mse_lower` it knows this model's gradients, not the worst case's.

  Source: van Trees, 1968; Gill and Levit, 1995 (multivariate).

  Args:
    information: J, (d, d), or a number for that times the identity in one
      dimension.
    prior_information: J_pi, likewise; positive definite.

  Returns:
    The bound in squared units, summed over features.

  Raises:
    ValueError: not square, not symmetric or not positive.

  >>> van_trees_lower(3.0, 1.0)
  0.25
  """
  parts = [
    np.atleast_2d(np.asarray(a, dtype=np.float64))
    for a in (information, prior_information)
  ]
  for name, part in zip(("information", "prior_information"), parts):
    square = part.ndim == 2 and part.shape == parts[1].shape[::-1]
    if not square or not np.allclose(part, part.T):
      raise ValueError(f"{name} must be symmetric, got shape {part.shape}")
    least = np.linalg.eigvalsh(part)[0]
    if least < (-1e-9 * np.abs(part).max() if part is parts[0] else 1e-300):
      raise ValueError(f"{name} must be positive, got eigenvalue {least:g}")
  return float(np.trace(np.linalg.inv(parts[0] + parts[1])))
