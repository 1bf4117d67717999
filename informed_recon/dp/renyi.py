"""The success that a bound on a Renyi divergence leaves to an event."""

import numpy as np

HALVINGS = 60


def log_largest(log_kappa, orders, epsilons) -> np.ndarray:
  """Log of the largest g in [kappa, 1] with D_alpha(g || kappa) <= epsilon.

  D_alpha(g || kappa) = log(g^alpha kappa^{1-alpha}
    + (1-g)^alpha (1-kappa)^{1-alpha}) / (alpha - 1)
  is the divergence of two coins; it grows with g. Halving intervals of log g;
  the answer is the upper end, after an allowance for round-off.

  Args:
    log_kappa: at most 0.
    orders: alpha, each above 1 and finite.
    epsilons: in [0, inf], nats. All three broadcast.
  """
  log_k, alpha, epsilon = np.broadcast_arrays(
    *(np.asarray(a, dtype=np.float64) for a in (log_kappa, orders, epsilons))
  )
  low = log_k.copy()
  # The first term alone.
  high = np.clip((1 - 1 / alpha) * (log_k + epsilon), log_k, 0.0)
  # At kappa = 1 there is nothing to solve, and log(1 - kappa) is -inf.
  beside = np.where(log_k < 0, _log1mexp(np.minimum(log_k, -1e-300)), 0.0)
  allowed = (alpha - 1) * epsilon + 1e-14 * alpha * (1 - log_k - beside)
  for _ in range(HALVINGS):
    middle = (low + high) / 2
    moment = np.logaddexp(
      alpha * middle + (1 - alpha) * log_k,
      alpha * _log1mexp(middle) + (1 - alpha) * beside,
    )
    within = moment <= allowed
    low, high = np.where(within, middle, low), np.where(within, high, middle)
  return high


def _log1mexp(x: np.ndarray) -> np.ndarray:
  """log(1 - e^x) for x <= 0."""
  with np.errstate(divide="ignore"):
    return np.where(
      x > -0.693, np.log(-np.expm1(x)), np.log1p(-np.exp(np.minimum(x, -0.6)))
    )
