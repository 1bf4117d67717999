"""The sampled counterpart of the bound on DP-SGD, to compare with it."""

import math

import numpy as np

from informed_recon.dp import checks, loss_distribution


def dpsgd_estimate(
  kappa=None,
  noise_multiplier=None,
  sampling_probability=None,
  steps=None,
  *,
  samples: int = 10_000,
  seed: int = 0,
  log_kappa=None,
):
  """Monte-Carlo estimate of the success bound of DP-SGD. Not a bound.

  Draws likelihood ratios r = dP/dQ under Q = N(0, sigma^2 I_T) and averages
  the largest kappa * samples of them. Biased low: the quantity is the least
  over t of kappa t + E_Q max(r - t, 0), and the expected minimum of sample
  means lies below the minimum of their expectations; with few or heavy-tailed
  top ratios single runs fall far below. `dpsgd_upper` has no such fault.

  Relation: add one record.
  Source: Hayes, Mahloujifar and Balle, 2023 (estimation of the blow-up
  function); the account of its bias is this project's.

  Args:
    kappa: blind success, with at least one sample: kappa * samples >= 1.
    noise_multiplier: in (0, inf).
    sampling_probability: q in (0, 1].
    steps: T, at least 1.
    samples: number of draws, shared by all kappa.
    seed: of the generator.
    log_kappa: log of kappa, in place of it.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(dpsgd_estimate(0.1, 10.0, 1.0, 100), 2)  # exact: 0.389
  0.38
  """
  log_k = checks.log_kappa_of(kappa, log_kappa)
  sigma, q, steps = checks.dpsgd_arguments(
    noise_multiplier, sampling_probability, steps
  )
  sigma = checks.real(
    "noise_multiplier", sigma, "(0, inf)", lambda v: 0 < v < math.inf
  )
  samples = int(
    checks.real("samples", samples, "[1, inf)", lambda v: 1 <= v < math.inf)
  )
  if not np.all(log_k >= -math.log(samples) - 1e-12):
    raise ValueError(f"kappa must lie in [1 / samples = {1 / samples:g}, 1]")
  rng = np.random.default_rng(seed)
  log_ratio = np.zeros(samples)
  for _ in range(steps):
    own = rng.standard_normal(samples) / sigma - 0.5 / sigma**2
    log_ratio += loss_distribution.mixture_loss(own, q)
  largest = np.sort(np.exp(np.minimum(log_ratio, 600.0)))[::-1]
  totals = np.append(0.0, np.cumsum(largest))
  count = np.exp(log_k) * samples
  return checks.probability(
    np.interp(count, np.arange(samples + 1), totals) / samples
  )
