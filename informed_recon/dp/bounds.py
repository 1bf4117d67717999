"""What differential privacy says about reconstruction, as numbers.

A mechanism is (eta, gamma)-reconstruction robust for a prior pi if no attack
comes within eta of Z ~ pi, given the model trained on the known records and
Z, with probability above gamma. Every `*_upper` function returns such a gamma
from kappa, the success of the best guess made without the model. With P the
law of the model trained with the target and Q without it, all rest on
    gamma <= sup {P(S) : Q(S) <= kappa} = 1 - f(kappa),
f the trade-off function (Balle, Cherubin and Hayes, 2022; Hayes, Mahloujifar
and Balle, 2023; Kaissis et al., 2023). Only that direction is needed: the
target is added to the known records.

Names tell what a number is worth: `*_upper` and `*_lower` are bounds,
`*_estimate` is not. Image priors have kappa below the smallest float, so each
function takes `log_kappa=` (natural logarithm) in place of kappa; where gamma
underflows too, `log=True`, or the twin `log_*_upper`, answers with its
logarithm. Scalars give a float, arrays an array of the same shape.
"""

import functools
import math

import numpy as np
from scipy import special

from informed_recon.dp import accounting, checks, loss_distribution, renyi

METHODS = ("best", "pld", "rdp")
# Where Renyi divergences are looked up; those close to 1 serve large epsilon,
# the large ones small kappa.
ORDERS = np.concatenate(
  [
    1 + np.geomspace(1e-3, 0.1, 9)[:-1],
    np.arange(11, 110) / 10,
    np.arange(11, 64),
    np.geomspace(64, 1024, 9).round(),
  ]
)


def pure_dp_upper(kappa=None, epsilon=None, *, log_kappa=None, log=False):
  """Reconstruction success under pure differential privacy.

  gamma = min(kappa e^epsilon, 1 - (1 - kappa) e^{-epsilon}).

  Relation: assumes epsilon-DP in both directions, of the model trained with the
  target from the one without and the reverse; the second term rests on the
  reverse. With the first direction alone, only kappa e^epsilon holds.
  Source: Balle, Cherubin and Hayes, 2022 (reconstruction from pure DP).

  Args:
    kappa: blind success, in (0, 1].
    epsilon: in [0, inf], nats.
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(pure_dp_upper(0.1, 1.0), 4)
  0.2718
  """
  return approx_dp_upper(kappa, epsilon, 0.0, log_kappa=log_kappa, log=log)


def approx_dp_upper(
  kappa=None, epsilon=None, delta=None, *, log_kappa=None, log=False
):
  """Reconstruction success under (epsilon, delta)-differential privacy.

  gamma = min(kappa e^epsilon + delta, 1 - e^{-epsilon} (1 - delta - kappa)):
  P(S) <= e^epsilon Q(S) + delta, and the same of the complement of S with P and
  Q in turn (Kairouz, Oh and Viswanath, 2015, Section 2).

  Relation: assumes (epsilon, delta)-DP in both directions, of the model trained
  with the target from the one without and the reverse; the second term rests on
  the reverse. With the first direction alone, only the first term holds.
  Source: Balle, Cherubin and Hayes, 2022; Hayes, Mahloujifar and Balle, 2023.

  Args:
    kappa: blind success, in (0, 1].
    epsilon: in [0, inf], nats.
    delta: in [0, 1].
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(approx_dp_upper(0.1, 1.0, 0.01), 4)
  0.2818
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  epsilon = checks.nonnegative("epsilon", epsilon)
  delta = checks.real("delta", delta, "[0, 1]", lambda v: 0 <= v <= 1)
  with np.errstate(divide="ignore"):
    there = np.logaddexp(log_k + epsilon, np.log(delta))
    rest = np.maximum(-np.expm1(log_k) - delta, 0.0)
    back = np.log1p(-np.exp(-epsilon) * rest)
  return _answer(np.minimum(there, back), log_k, log)


def rdp_upper(
  kappa=None, orders=None, epsilons=None, *, log_kappa=None, log=False
):
  """Reconstruction success under Renyi differential privacy.

  gamma = min over alpha of the largest g in [kappa, 1] for which coins of
  probability g and kappa diverge by no more than epsilon_alpha,
    g^alpha kappa^{1-alpha} + (1-g)^alpha (1-kappa)^{1-alpha}
      <= e^{(alpha-1) epsilon_alpha},
  as the event that the attack succeeds is such a coin. Its first term alone
  gives (kappa e^{epsilon_alpha})^{(alpha - 1) / alpha}.

  Relation: the divergence of order alpha of the model trained with the target
  from the one without; a bound on both directions will do.
  Source: Balle, Cherubin and Hayes, 2022 (by the first term alone); van Erven
  and Harremoes, 2014, Theorem 9 (data processing, for the whole divergence).

  Args:
    kappa: blind success, in (0, 1].
    orders: each above 1 and finite.
    epsilons: the divergence at each order, in [0, inf], nats.
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(rdp_upper(0.1, [2.0, 4.0], [1.0, 2.0]), 4)
  0.4932
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  alpha = np.atleast_1d(np.asarray(orders, dtype=np.float64))
  divergence = np.atleast_1d(np.asarray(epsilons, dtype=np.float64))
  if (
    alpha.ndim != 1
    or not alpha.size
    or not np.all((alpha > 1) & np.isfinite(alpha))
  ):
    raise ValueError(f"orders must lie in (1, inf), got {orders!r}")
  if divergence.shape != alpha.shape or not np.all(divergence >= 0):
    raise ValueError(
      f"epsilons must lie in [0, inf], one for each of orders, got {epsilons!r}"
    )
  found = renyi.log_largest(log_k[..., None], alpha, divergence)
  return _answer(found.min(axis=-1), log_k, log)


def zcdp_upper(kappa=None, rho=None, *, log_kappa=None, log=False):
  """Reconstruction success under rho-zero-concentrated privacy.

  `rdp_upper` with epsilon_alpha = alpha rho at 200 orders about the best order
  of its first term, sqrt(log(1/kappa) / rho), by which gamma is at most
  exp(-(sqrt(log 1/kappa) - sqrt(rho))^2) while rho < log 1/kappa, else 1.

  Relation: as for `rdp_upper`.
  Source: derived from the Renyi bound of Balle, Cherubin and Hayes, 2022;
  zCDP of Bun and Steinke, 2016, Definition 1.1.

  Args:
    kappa: blind success, in (0, 1].
    rho: in [0, inf].
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(zcdp_upper(0.1, 0.5), 3)
  0.484
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  rho = checks.nonnegative("rho", rho)
  if rho == 0 or math.isinf(rho):
    return _answer(log_k if rho == 0 else np.zeros_like(log_k), log_k, log)
  best = np.clip(np.sqrt(-log_k / max(rho, 1e-300)), 1.0, 1e9)[..., None]
  orders = 1 + np.geomspace(0.02, 3.0, 200) * np.maximum(best - 1, 0.1)
  found = renyi.log_largest(log_k[..., None], orders, orders * rho)
  return _answer(found.min(axis=-1), log_k, log)


def gaussian_upper(kappa=None, mu=None, *, log_kappa=None, log=False):
  """Reconstruction success under mu-Gaussian differential privacy.

  gamma = Phi(Phi^{-1}(kappa) + mu). T full-batch steps at noise multiplier
  sigma have mu = sqrt(T) / sigma exactly; an attack may still attain less.

  Relation: add or remove one record, where one record moves the released sum
  by mu standard deviations of its noise.
  Source: Dong, Roth and Su, 2022, Definition 2.6 (trade-off function); Hayes,
  Mahloujifar and Balle, 2023 (as a reconstruction bound).

  Args:
    kappa: blind success, in (0, 1].
    mu: in [0, inf].
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(gaussian_upper(0.1, 1.0), 6)
  0.389144
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  mu = checks.nonnegative("mu", mu)
  found = special.log_ndtr(special.ndtri_exp(log_k) + mu)
  return _answer(found, log_k, log)


def laplace_upper(kappa=None, epsilon=None, *, log_kappa=None, log=False):
  """Reconstruction success under the one-dimensional Laplace mechanism.

  kappa e^eps          while kappa < e^{-eps} / 2,
  1 - e^{-eps} / (4 kappa)    up to kappa = 1/2,
  1 - (1 - kappa) e^{-eps}    above.
  Exact for the trade-off function; never above `pure_dp_upper`.

  Relation: add or remove one record, which moves a single released number by
  at most epsilon times the noise scale.
  Source: Dong, Roth and Su, 2022, Section 2 (trade-off function of Laplace
  noise); Kaissis et al., 2023 (as a reconstruction bound).

  Args:
    kappa: blind success, in (0, 1].
    epsilon: sensitivity over noise scale, in [0, inf], nats.
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(laplace_upper(0.3, 1.0), 4)
  0.6934
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  epsilon = checks.nonnegative("epsilon", epsilon)
  shifted = log_k + epsilon
  middle = np.log1p(-np.exp(-np.maximum(shifted, -math.log(2))) / 4)
  with np.errstate(divide="ignore"):
    high = np.log1p(np.expm1(log_k) * math.exp(-epsilon))
  below_half = np.where(shifted < -math.log(2), shifted, middle)
  found = np.where(log_k <= -math.log(2), below_half, high)
  return _answer(found, log_k, log)


def dpsgd_upper(
  kappa=None,
  noise_multiplier=None,
  sampling_probability=None,
  steps=None,
  method: str = "best",
  *,
  log_kappa=None,
  log=False,
):
  """Reconstruction success under DP-SGD with Poisson sampling.

  "pld": the least over eps (of either sign) of e^eps kappa + delta(eps), which
  for negative eps reads 1 - e^{-|eps|} (1 - kappa - delta'(|eps|)) with
  delta' of the other direction; for q = 1 exactly `gaussian_upper`. It rests
  on deltas that floor at 1e-15 and the round-off of T steps (about 1e-12 for
  T = 1,000), so it says little about smaller kappa.
  "rdp": `rdp_upper` at a fixed set of orders; for q = 1 `zcdp_upper`, the best
  of all orders. "best": the smaller of the two. None exceeds
  kappa + (1 - kappa) (1 - (1 - q)^T), met without noise: a target that was
  never drawn has left no mark.

  Relation: add one record, the target, to those known.
  Source: Hayes, Mahloujifar and Balle, 2023 (blow-up function of DP-SGD); Zhu,
  Dong and Wang, 2022 (dominating pair); Balle, Cherubin and Hayes, 2022 (RDP).

  Args:
    kappa: blind success, in (0, 1].
    noise_multiplier: noise over clipping norm, in [0, inf].
    sampling_probability: q in (0, 1].
    steps: T, at least 1.
    method: "best", "pld" or "rdp".
    log_kappa: log of kappa, in place of it.
    log: whether to answer with the logarithm.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(dpsgd_upper(0.1, 1.0, 0.01, 1000), 3)
  0.194
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  sigma, q, steps = checks.dpsgd_arguments(
    noise_multiplier, sampling_probability, steps
  )
  checks.method(method, METHODS)
  if math.isinf(sigma):
    return _answer(log_k, log_k, log)
  drawn = accounting.drawn_probability(q, steps)
  with np.errstate(divide="ignore"):
    found = [np.logaddexp(np.log(drawn), np.log1p(-drawn) + log_k)]
  if sigma and method != "rdp":
    found.append(_log_dpsgd_pld(log_k, sigma, q, steps))
  if sigma and method != "pld":
    found.append(_log_dpsgd_rdp(log_k, sigma, q, steps))
  return _answer(np.minimum.reduce(found), log_k, log)


# What underflows as a probability: the same functions, in logarithms.
log_pure_dp_upper = functools.partial(pure_dp_upper, log=True)
log_approx_dp_upper = functools.partial(approx_dp_upper, log=True)
log_rdp_upper = functools.partial(rdp_upper, log=True)
log_zcdp_upper = functools.partial(zcdp_upper, log=True)
log_gaussian_upper = functools.partial(gaussian_upper, log=True)
log_laplace_upper = functools.partial(laplace_upper, log=True)
log_dpsgd_upper = functools.partial(dpsgd_upper, log=True)


def _log_dpsgd_pld(
  log_k: np.ndarray, sigma: float, q: float, steps: int
) -> np.ndarray:
  if q == 1:
    return log_gaussian_upper(mu=math.sqrt(steps) / sigma, log_kappa=log_k)
  epsilons, deltas = loss_distribution.delta_curve(sigma, q, steps)
  log_deltas = np.log(deltas)
  least = [
    np.min(np.logaddexp(epsilons + one, log_deltas)) for one in log_k.flat
  ]
  return np.reshape(least, log_k.shape)


def _log_dpsgd_rdp(
  log_k: np.ndarray, sigma: float, q: float, steps: int
) -> np.ndarray:
  if q == 1:
    return log_zcdp_upper(rho=0.5 * steps / sigma**2, log_kappa=log_k)
  curve = accounting.rdp_curve(sigma, q, steps, ORDERS)
  return log_rdp_upper(orders=ORDERS, epsilons=curve, log_kappa=log_k)


def _answer(log_gamma: np.ndarray, log_kappa: np.ndarray, log: bool):
  """No bound lies below kappa or above 1; where one does, it is round-off."""
  capped = np.clip(log_gamma, log_kappa, 0.0)
  if not log:
    return checks.probability(np.exp(capped))
  return float(capped) if np.ndim(capped) == 0 else capped
