"""Sampled counterparts of the bounds, to compare with them. No bounds."""

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


def identification_estimate(gram, *, samples: int = 1000, seed: int = 0):
  """Monte-Carlo estimate of the best identification's success. Not a bound.

  One of m candidates, each as likely, is released as g_i + N(0, I). Right most
  often is the answer argmax_i <g_i, r> - |g_i|^2 / 2; if j is true, the scores
  are jointly Gaussian with means G_ij - G_ii / 2 and covariance G, the Gram
  matrix of the g_i. They are drawn `samples` times for the share of right
  answers. It is the bound on Gaussian releases, `gaussian_upper(1 / m, mu)`,
  come down to candidates that are not alone in their directions, or shorter
  than mu.

  For T full-batch steps of DP-SGD G is the sum over steps of the Gram matrices
  of the candidates' clipped gradients, in units of the noise. That takes the
  path of the parameters as given, while it depends on target and noise: one
  more reason to call it an estimate.

  Source: Hayes, Mahloujifar and Balle, 2023 (the attack); the reduction to the
  Gram matrix is this project's.

  Args:
    gram: (m, m) or a batch of them (..., m, m), positive semidefinite.
    samples: draws for each matrix, at least 1; the targets take turns.
    seed: of the generator.

  Returns:
    A success rate for each matrix.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(identification_estimate(3.4**2 * np.eye(8), samples=100_000), 2)
  0.96
  """
  g = np.asarray(gram, dtype=np.float64)
  if g.ndim < 2 or g.shape[-1] != g.shape[-2] or not np.all(np.isfinite(g)):
    raise ValueError(f"gram must be finite and square, got shape {g.shape}")
  samples = int(
    checks.real("samples", samples, "[1, inf)", lambda v: 1 <= v < math.inf)
  )
  rng = np.random.default_rng(seed)
  found = [
    _identified(one, samples, rng) for one in g.reshape(-1, *g.shape[-2:])
  ]
  return float(found[0]) if g.ndim == 2 else np.reshape(found, g.shape[:-2])


def _identified(gram: np.ndarray, samples: int, rng) -> float:
  values, vectors = np.linalg.eigh(gram)
  root = vectors * np.sqrt(np.maximum(values, 0.0))
  truth = np.arange(samples) % len(gram)
  noise = rng.standard_normal((samples, len(gram))) @ root.T
  scores = gram[truth] - np.diag(gram) / 2 + noise
  return np.mean(scores.argmax(axis=1) == truth)
