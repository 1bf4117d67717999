"""What noise costs in epsilon, and what epsilon costs in noise, for DP-SGD.

Everywhere: Poisson subsampling with probability q at each of T steps, noise of
standard deviation noise_multiplier times the clipping norm on the sum of the
clipped gradients, the model after every step released. Neighbouring relation:
add or remove one record; epsilon is the worse of the two directions.
"""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Sequence

import dp_accounting
import numpy as np
from dp_accounting import rdp
from dp_accounting.pld import privacy_loss_distribution
from scipy import optimize, special

from informed_recon.dp import checks, loss_distribution

METHODS = ("pld", "rdp")
# Truncated tails (1e-15) and Fourier round-off (about 1e-13 over all bins)
# would make up much of any smaller delta.
PLD_SMALLEST_DELTA = 1e-12
# In nats; the library takes e to this power.
LARGEST_INTERVAL = 500.0


def dpsgd_epsilon(
  noise_multiplier: float,
  sampling_probability: float,
  steps: int,
  delta: float,
  method: str = "pld",
) -> float:
  """Epsilon of DP-SGD at a given delta; an upper bound for either method.

  Full batch (q = 1) with "pld" is the exact Gaussian formula at sensitivity
  sqrt(T): delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu), with
  mu = sqrt(T) / noise_multiplier. Otherwise "pld" composes discretised privacy
  losses, rounded against us, on a grid that costs less than a thousandth of
  epsilon; "rdp" converts Renyi divergences at dp-accounting's standard
  orders, the figure most other work reports.

  Relation: add or remove one record.
  Sources: Balle and Wang, 2018, Theorem 8 (Gaussian); Doroshenko et al., 2022,
  Algorithm 1 (PLD); Mironov, Talwar and Zhang, 2019 (RDP).

  Args:
    noise_multiplier: noise over clipping norm, in [0, inf].
    sampling_probability: q in (0, 1].
    steps: T, at least 1.
    delta: in (0, 1); for "pld" with q < 1 at least 1e-12, the numerical floor.
    method: "pld" or "rdp".

  Returns:
    Epsilon in nats; inf without noise, 0 where delta alone pays for it all
    (even without noise, if the record is drawn with no more probability).

  Raises:
    ValueError: an argument is out of its range, or "pld" would need more
      memory and time than `loss_distribution.LARGEST_GRID` stands for.

  >>> round(dpsgd_epsilon(10.0, 1.0, 100, 1e-5), 3)
  4.377
  >>> round(dpsgd_epsilon(1.0, 0.01, 1000, 1e-5), 2)
  1.83
  """
  sigma, q, steps = checks.dpsgd_arguments(
    noise_multiplier, sampling_probability, steps
  )
  delta = _check_delta(delta, q, checks.method(method, METHODS))
  # Where delta covers the total variation, nothing is left to pay, and the
  # finer machinery would only meet its own round-off.
  if _total_variation_upper(sigma, q, steps) <= delta:
    return 0.0
  if sigma == 0:
    return math.inf
  if method == "rdp":
    return _rdp_epsilon(sigma, q, steps, delta)
  if q == 1:
    return _gaussian_epsilon(math.sqrt(steps) / sigma, delta)
  return _pld_epsilon(sigma, q, steps, delta)


def calibrate_noise_multiplier(
  epsilon: float,
  delta: float,
  sampling_probability: float,
  steps: int,
  method: str = "pld",
) -> float:
  """The least noise multiplier whose epsilon at delta is no more than asked.

  `dpsgd_epsilon` of the answer never exceeds `epsilon` and falls short of it
  by about a part in a thousand at most (exact but for rounding when q = 1 and
  method "pld").

  Relation: add or remove one record.
  Sources: as for `dpsgd_epsilon`.

  Args:
    epsilon: target in nats, in (0, inf).
    delta: in (0, 1); for "pld" with q < 1 at least 1e-12.
    sampling_probability: q in (0, 1].
    steps: T, at least 1.
    method: "pld" or "rdp".

  Returns:
    A noise multiplier; 0 where delta alone pays for it all.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(calibrate_noise_multiplier(10.0, 1e-5, 1.0, 100), 3)
  4.999
  """
  _, q, steps = checks.dpsgd_arguments(1.0, sampling_probability, steps)
  delta = _check_delta(delta, q, checks.method(method, METHODS))
  epsilon = checks.real(
    "epsilon", epsilon, "(0, inf)", lambda v: 0 < v < math.inf
  )
  if _total_variation_upper(0.0, q, steps) <= delta:
    return 0.0
  with np.errstate(divide="ignore"):
    one_shot = dp_accounting.get_sigma_gaussian(epsilon, delta)
  if q == 1 and method == "pld":
    sigma, step_up = math.sqrt(steps) * one_shot, 1e-9
  else:
    # Where central limits rule, DP-SGD is Gaussian with
    # mu = q sqrt(T (e^(1/sigma^2) - 1)) (Bu et al., 2020): a first guess only.
    ratio = 1 / (one_shot * q * math.sqrt(steps))
    guess = 1 / math.sqrt(math.log1p(ratio**2))
    epsilon_of = _rdp_epsilon if method == "rdp" else _pld_epsilon
    sigma, step_up = (
      _crossing(lambda s: epsilon_of(s, q, steps, delta), epsilon, guess),
      1e-4,
    )
  while dpsgd_epsilon(sigma, q, steps, delta, method) > epsilon:
    sigma, step_up = sigma * (1 + step_up), 2 * step_up
  return float(sigma)


def rdp_curve(
  noise_multiplier: float,
  sampling_probability: float,
  steps: int,
  orders: Sequence[float],
) -> np.ndarray:
  """Upper bounds on the Renyi divergences of DP-SGD, in nats.

  Args:
    noise_multiplier: noise over clipping norm, in [0, inf].
    sampling_probability: q in (0, 1].
    steps: T, at least 1.
    orders: increasing, each above 1; whole orders are exact and steady the
      others.

  Returns:
    One divergence an order; inf where the accountant finds none.

  Relation: add or remove one record, the direction with the larger divergence.
  Source: Mironov, Talwar and Zhang, 2019, Section 3.

  >>> rdp_curve(10.0, 1.0, 100, [2.0]).round(6).tolist()
  [1.0]
  """
  sigma, q, steps = checks.dpsgd_arguments(
    noise_multiplier, sampling_probability, steps
  )
  orders = np.asarray(orders, dtype=np.float64)
  if not orders.size or not np.all(np.diff(orders, prepend=1.0) > 0):
    raise ValueError(f"orders must lie in (1, inf) and increase, got {orders}")
  accountant = rdp.RdpAccountant(orders)
  event = dp_accounting.GaussianDpEvent(sigma)
  with _quiet_absl():
    accountant.compose(dp_accounting.PoissonSampledDpEvent(q, event), steps)
  # Round-off can leave -1e-17 where the truth is +1e-30.
  curve = np.maximum(accountant.rdp, 0.0)
  # For fractional orders the library adds up a series in absolute values,
  # which overshoots or diverges. (alpha - 1) times the divergence is convex in
  # alpha and 0 at 1, so a chord between whole orders is a bound as well.
  whole = (orders % 1 == 0) & np.isfinite(curve)
  moments = np.interp(
    orders,
    np.append(1.0, orders[whole]),
    np.append(0.0, ((orders - 1) * curve)[whole]),
    right=np.inf,
  )
  return np.minimum(curve, moments / (orders - 1))


def membership_advantage_upper(
  noise_multiplier: float, sampling_probability: float, steps: int
) -> float:
  """How far a membership test can rise above chance under DP-SGD.

  TPR - FPR of telling the model trained with a record from the one without is
  at most their total variation, which is delta at epsilon = 0. For q = 1 that
  is 2 Phi(mu / 2) - 1 with mu = sqrt(T) / noise_multiplier.

  Relation: add or remove one record; total variation has no direction.
  Sources: Yeom et al., 2018, Definition 4 (advantage); Dong, Roth and Su, 2022
  (Gaussian); as for `dpsgd_epsilon` otherwise.

  Args:
    noise_multiplier: noise over clipping norm, in [0, inf].
    sampling_probability: q in (0, 1].
    steps: T, at least 1.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(membership_advantage_upper(10.0, 1.0, 100), 4)
  0.3829
  """
  sigma, q, steps = checks.dpsgd_arguments(
    noise_multiplier, sampling_probability, steps
  )
  simple = _total_variation_upper(sigma, q, steps)
  if sigma == 0 or math.isinf(sigma):
    return simple
  if q == 1:
    return float(special.erf(math.sqrt(steps / 8) / sigma))
  epsilons, deltas = loss_distribution.delta_curve(sigma, q, steps)
  # Delta falls with epsilon: the last one up to 0, if the curve goes so low.
  return float(min([simple, *deltas[epsilons <= 0][-1:]]))


def drawn_probability(sampling_probability: float, steps: int) -> float:
  """The chance that a record is drawn in any of T steps: 1 - (1 - q)^T.

  Args:
    sampling_probability: q in (0, 1].
    steps: T, at least 1.

  Raises:
    ValueError: an argument is out of its range.

  >>> drawn_probability(0.5, 3)
  0.875
  """
  _, q, steps = checks.dpsgd_arguments(1.0, sampling_probability, steps)
  return 1.0 if q == 1 else -math.expm1(steps * math.log1p(-q))


def _total_variation_upper(sigma: float, q: float, steps: int) -> float:
  """At most the sum over steps, and the chance that the record is drawn."""
  drawn = drawn_probability(q, steps)
  if sigma == 0:
    return drawn
  return min(drawn, steps * q * special.erf(1 / (math.sqrt(8) * sigma)))


@contextlib.contextmanager
def _quiet_absl():
  """Keeps dp-accounting from logging every order it leaves out."""
  logger = logging.getLogger("absl")
  before, logger.disabled = logger.disabled, True
  try:
    yield
  finally:
    logger.disabled = before


def _check_delta(delta, q: float, method: str) -> float:
  if method == "pld" and q < 1:
    return checks.real(
      "delta",
      delta,
      f"[{PLD_SMALLEST_DELTA}, 1) for method 'pld'",
      lambda v: PLD_SMALLEST_DELTA <= v < 1,
    )
  return checks.real("delta", delta, "(0, 1)", lambda v: 0 < v < 1)


def _gaussian_epsilon(mu: float, delta: float) -> float:
  # log(0) is the right limit where delta(eps) underflows.
  with np.errstate(divide="ignore"):
    return float(dp_accounting.get_epsilon_gaussian(1 / mu, delta))


@functools.lru_cache(maxsize=256)
def _rdp_epsilon(sigma: float, q: float, steps: int, delta: float) -> float:
  orders = rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS
  curve = rdp_curve(sigma, q, steps, orders)
  return float(rdp.compute_epsilon(orders, curve, delta)[0])


@functools.lru_cache(maxsize=256)
def _pld_epsilon(sigma: float, q: float, steps: int, delta: float) -> float:
  # Below 1e-8 the library's second differences of delta drown in round-off.
  interval = max(loss_distribution.grid_step(sigma, q), 1e-8)
  if interval > LARGEST_INTERVAL:
    # Epsilon is in the millions here; not sampling at all bounds it.
    return _gaussian_epsilon(math.sqrt(steps) / sigma, delta)
  loss_distribution.check_size(sigma, q, steps, interval)
  one_step = privacy_loss_distribution.from_gaussian_mechanism(
    sigma, sampling_prob=q, value_discretization_interval=interval
  )
  return float(one_step.self_compose(steps).get_epsilon_for_delta(delta))


def _crossing(
  epsilon_of: Callable[[float], float],
  target: float,
  guess: float,
) -> float:
  """Where a decreasing epsilon(sigma) falls to the target."""

  @functools.cache
  def excess(log_sigma: float) -> float:
    # Epsilon falls to exactly 0 where delta alone suffices.
    epsilon = epsilon_of(math.exp(log_sigma))
    return math.log(max(epsilon / target, 1e-9))

  low = high = math.log(guess)
  stride = 0.05
  while excess(high) > 0:
    low, high, stride = high, high + stride, 2 * stride
  while excess(low) < 0:
    low, high, stride = low - stride, low, 2 * stride
  return math.exp(optimize.brentq(excess, low, high, xtol=1e-4))
