"""DP-SGD, and at sampling probability 1 DP-GD (Abadi et al. 2016, section 3).

One step shows, of fixed set D₋ and target z with clipped gradients ḡ_i,

  [Σ_i b_i ḡ_i + σ C ξ] / (q (n + 1)),   b_i ~ Bernoulli(q), ξ ~ N(0, I),

n = |D₋|; the penalty's gradient, l2 θ, depends on no record and comes after.
Neighbouring relation: add or remove one record. The divisor must not
tell neighbours apart, so it is the same with and without the target, and never
the number of records drawn.

Which records were drawn and the noise are secret under every threat model, so
both depend on the model's id: amplification by sampling holds for nobody who
knows the sample. The noise reaches far enough for what is stated, and what lies
beyond its reach is part of the stated δ; what is not covered, the rounding of
float32, is told in `training.noise`.
"""

import math

import jax
import jax.numpy as jnp
import optax

from informed_recon.dp import accounting, reach
from informed_recon.models import Model
from informed_recon.training import clipping, noise
from informed_recon.training.recipe import Gradient, Recipe
from informed_recon.types import UserError


def make(model: Model, recipe: Recipe) -> Gradient:
  """The noisy mean of clipped gradients.

  Clip norm and noise multiplier are traced, the sampling probability is static:
  1 is another program, without any sampling.

  Raises:
    UserError: a batch size, or a model whose records cannot be clipped.
  """
  if recipe.batch_size:
    raise UserError(
      "training.batch_size must be 0 with privacy mechanism 'dp_sgd', which "
      "draws every record with training.privacy.sampling_probability"
    )
  clipping.check(model)
  q = recipe.sampling_probability

  def drawn(key, count):
    """(count,) weights 0 or 1. Whole 32-bit words: the probability is q,
    rounded down by less than 2^-32, where a float would round up too."""
    if q == 1:
      return jnp.ones(count)
    words = jax.random.bits(key, (count,), jnp.uint32)
    return (words < jnp.uint32(int(q * 2**32))).astype(jnp.float32)

  def gradient(keys, step, params, fixed, target, hparams):
    n, clip_norm = len(fixed.y), hparams.clip_norm
    weights = drawn(jax.random.fold_in(keys.sampling, step), n + 1)

    def clipped(x, y, weights):
      return clipping.clipped_sum(model.apply, params, x, y, weights, clip_norm)

    total = clipped(fixed.x, fixed.y, weights[:n])
    if target is not None:
      own = clipped(target.x[None], target.y[None], weights[n:])
      total = optax.tree.add(total, own)
    draws = optax.tree.random_like(
      jax.random.fold_in(keys.noise, step), params, noise.gaussian
    )
    spread = hparams.noise_multiplier * clip_norm
    return jax.tree.map(
      lambda g, e, p: (g + spread * e) / divisor(recipe, n) + hparams.l2 * p,
      *(total, draws, params),
    )

  return gradient


def divisor(recipe: Recipe, known: int) -> float:
  """What the noisy sum is divided by, a public number: q (n + 1)."""
  return recipe.sampling_probability * (known + 1)


def statement(privacy: dict, steps: int) -> dict:
  """What (ε, δ)-differential privacy all steps together guarantee.

  Where `privacy["epsilon"]` is positive, the noise multiplier is the least that
  guarantees it.

  At q = 1 by the exact formula of the Gaussian mechanism, below by privacy
  loss distributions, rounded up; either at δ less what the noise's finite
  reach costs. ε is None where nothing is guaranteed: without noise, and with
  so little that its reach gives the target away.

  Raises:
    UserError: a setting is out of its range.
  """
  clip_norm = privacy["clip_norm"]
  if not 0 < clip_norm < math.inf:
    raise UserError(
      f"training.privacy.clip_norm must lie in (0, inf), got {clip_norm}"
    )
  if privacy["noise_multiplier"] == math.inf:
    raise UserError("training.privacy.noise_multiplier must be finite")
  try:
    sampling = privacy["sampling_probability"], steps
    sigma, delta = privacy["noise_multiplier"], privacy["delta"]
    if privacy["epsilon"] != 0:
      sigma = _calibrated(privacy["epsilon"], delta, *sampling)
    beyond = reach.delta(sigma, steps, noise.REACH)
    epsilon = accounting.dpsgd_epsilon(
      *(sigma, *sampling, delta - beyond if beyond < delta else delta)
    )
  except ValueError as error:
    raise UserError(f"training.privacy: {error}") from None
  return dict(
    mechanism="dp_sgd",
    clip_norm=clip_norm,
    noise_multiplier=sigma,
    sampling_probability=privacy["sampling_probability"],
    steps=steps,
    delta=delta,
    delta_beyond_reach=beyond,
    epsilon=epsilon if math.isfinite(epsilon) and beyond < delta else None,
    neighbouring_relation="add/remove-one",
  )


def _calibrated(epsilon: float, delta: float, q: float, steps: int) -> float:
  """The least noise multiplier for ε, its reach paid for out of δ."""
  calibrate = accounting.calibrate_noise_multiplier
  sigma = calibrate(epsilon, delta, q, steps)
  if sigma == 0:
    return sigma
  sigma = max(sigma, reach.least_noise(delta / 2, steps, noise.REACH))
  left = delta - reach.delta(sigma, steps, noise.REACH)
  return (
    sigma if left == delta else max(sigma, calibrate(epsilon, left, q, steps))
  )
