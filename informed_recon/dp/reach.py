"""What noise of finite reach adds to delta."""

import math

from scipy import special

from informed_recon.dp import checks

# No model here has more parameters.
PARAMETERS = 1e9


def delta(noise_multiplier: float, steps: int, reach: float) -> float:
  """The delta to add where each noise coordinate is Gaussian up to a reach.

  Let G be the event that in every step the noise with the target, and the
  noise without it that would show the same, lie within the reach. On G the
  densities are the Gaussian's, so that P(S) <= e^eps Q(S) + delta + P(not G).
  A target moves a step by at most 1 / sigma deviations. If one coordinate takes
  the whole shift,
    P(not G) <= 4 T [Phi(-(R - 1 / sigma)) + PARAMETERS Phi(-R)],
  or 0 without noise, which has no reach and no guarantee.

  That this is the worst case is argued, not proven. A coordinate's chance
  Phi(s - R) is convex in s^2, which favours one coordinate, only for s (R - s)
  above 1. At R = 11.2 and sigma = 1 an equal shift of all PARAMETERS gives
  0.03% more than the brackets, some 2e-23 a step.

  Relation: add or remove one record. Source: this project's.

  Args:
    noise_multiplier: noise over clipping norm, in [0, inf].
    steps: T, at least 1.
    reach: R, in deviations.

  >>> delta(1.0, 1000, 11.2) < 1e-15
  True
  >>> round(delta(0.1, 1, 11.2), 2)
  0.46
  """
  sigma, _, count = checks.dpsgd_arguments(noise_multiplier, 1.0, steps)
  if sigma == 0:
    return 0.0
  far = PARAMETERS * special.ndtr(-reach)
  return float(min(1.0, 4 * count * (special.ndtr(1 / sigma - reach) + far)))


def least_noise(allowed: float, steps: int, reach: float) -> float:
  """The least noise multiplier whose `delta` is at most `allowed`.

  >>> sigma = least_noise(5e-6, 100, 11.2)
  >>> round(sigma, 3), delta(sigma, 100, 11.2) <= 5e-6
  (0.178, True)
  """
  rest = allowed / (4 * steps) - PARAMETERS * special.ndtr(-reach)
  if rest <= 0:
    return math.inf
  return float((1 + 1e-12) / (reach + special.ndtri(rest)))
