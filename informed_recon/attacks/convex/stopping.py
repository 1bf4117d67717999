"""How far from the optimum a solver stops, measured.

No solver ends at a gradient of zero. The adversary fits the same model to the
known records, whose whole objective is known, and sees what the solver leaves.
"""

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.convex import inputs, missing

# Fits of the known records, and of all but one of them; no more are begun once
# they took that many seconds.
FITS, PATIENCE = 3, 5.0
SAFETY = 2.0  # what the solver leaves differs from fit to fit
# L-BFGS also stops where a step gains less than this, relative to the mean loss
# or to 1 (scikit-learn's `ftol`), and by how far it then is from the optimum
# differs by chance from fit to fit.
SCIKIT_GAIN = 64 * np.finfo(np.float64).eps
GAINS_LEFT = 10.0  # such gains that slow steps may leave


def leftover(fit, count: int, least_gain: float = 0.0, seed=0):
  """Size of the gradient that a solver leaves.

  A feature in which the fits happen to leave little gets the mean over
  features, in units of the columns.

  Args:
    fit: (n,) which known records -> `Problem` of a model fitted to them; it has
      all records, so that one program does for all, those left out at weight 0.
      None where it cannot be fitted.
    count: of known records.
    least_gain: relative gain of the loss below which the solver stops.
    seed: of the records left out.

  Returns:
    ((K, d), (K,)), or None where no fit succeeded.
  """
  if not count:
    return None
  rng, began, found = np.random.default_rng(seed), time.monotonic(), []
  hidden = None
  for i in range(FITS):
    if found and time.monotonic() - began > PATIENCE:
      break
    keep = np.ones(count, bool)
    if i:
      keep[rng.integers(count)] = False
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # that the solver stops early is known
      own = fit(keep)
    if own is None:
      continue
    if hidden is None:
      scale = missing.column_scale(own.x)
      hidden = _hidden(own, least_gain)
    left, _ = missing.of(own)
    # An l1 penalty may hold any gradient at a weight of zero.
    loose = (own.l1 + own.l21 > 0) & (own.weights == 0)
    shown = np.where(loose, 0.0, left[0])
    found.append((np.abs(shown), np.abs(left[1])))
  if not found:
    return None
  most, most0 = (np.max(parts, axis=0) for parts in zip(*found))
  mean = np.sqrt(np.mean((most / scale) ** 2, axis=1, keepdims=True)) * scale
  least, least0 = hidden
  return (
    SAFETY * np.maximum(np.maximum(most, mean), least),
    SAFETY * np.maximum(most0, least0),
  )


def _hidden(own: inputs.Problem, least_gain):
  """((K, d), (K,)) gradient that a solver may leave without seeing a gain.

  A gain E left over is at least g² / 2H in a coefficient of curvature H, so
  that |g| <= sqrt(2 E H).
  """
  if not least_gain:
    return 0.0, 0.0
  with jax.enable_x64(True):
    h = jnp.asarray(own.x @ own.weights.T + own.bias)
    loss = jax.vmap(own.family.loss)(h, own.y) @ own.sample_weight
    slope = jax.vmap(jax.jacfwd(own.family.residual))(h, own.y)
    bend = np.abs(np.diagonal(slope, axis1=1, axis2=2))
  bend = bend * own.sample_weight[:, None]  # (n, K)
  total = np.sum(own.sample_weight)
  left = GAINS_LEFT * least_gain * max(total, abs(float(loss)))
  curvature = bend.T @ own.x**2 + own.l2
  return np.sqrt(2 * left * curvature), np.sqrt(2 * left * bend.sum(0))
