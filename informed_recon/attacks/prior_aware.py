"""The prior-aware attack: which candidate explains a private training run?

Under DP-SGD the adversary sees every step's parameters θ_t and noisy gradient,
and subtracts what the known records put into it. What is left, at each step,

  r_t = b_t ḡ_t(z) + σ C ξ_t,   b_t ~ Bernoulli(q), ξ_t ~ N(0, I),

is the target's clipped gradient ḡ_t(z) = clip(∇ℓ(z; θ_t)) in Gaussian noise.
With a finite prior π nothing is right more often than the candidate of largest
posterior, log π(z) + Σ_t log(1 - q + q exp(s_t(z))), where

  s_t(z) = (⟨ḡ_t(z), r_t⟩ - ‖ḡ_t(z)‖² / 2) / (σ C)²

is the log likelihood ratio of a step with z in it to one without. For q = 1 and
a uniform π this ranks by Σ_t ⟨ḡ_t(z), r_t⟩ - ½ Σ_t ‖ḡ_t(z)‖² (Hayes,
Mahloujifar and Balle, 2023, "Bounding training data reconstruction in DP-SGD").

The adversary knows which of the known records took part in each step, as in the
proofs of the bounds; whether the target did, it does not.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from informed_recon import tree
from informed_recon.models import Model
from informed_recon.training import clipping
from informed_recon.training.mechanisms import dp_sgd
from informed_recon.training.recipe import Recipe


class Evidence(NamedTuple):
  """What a training run says about m candidates."""

  log_posterior: jax.Array  # (m,) up to a constant
  gram: jax.Array  # (m, m) Σ_t ⟨ḡ_t(z_i), ḡ_t(z_j)⟩ / (σ C)²


Attack = Callable[..., Evidence]


def make_attack(model: Model, recipe: Recipe) -> Attack:
  """`attack(keys, transcript, fixed, candidates, hparams, log_prior=0)`.

  It reads the transcript of a run of `recipe` (mechanism "dp_sgd") with these
  keys and hparams, noise_multiplier above 0; of the keys it uses `sampling`,
  and that for the known records alone. `fixed` holds n records, `candidates`
  m; `log_prior` is log π of each, (m,), or 0 where they are equally likely. The
  answer is the argmax of `Evidence.log_posterior`.

  Raises:
    UserError: what the mechanism refuses.
  """
  mechanism, q = dp_sgd.make(model, recipe), recipe.sampling_probability

  def attack(keys, transcript, fixed, candidates, hparams, log_prior=0.0):
    count = len(candidates.y)
    unit = hparams.noise_multiplier * hparams.clip_norm
    scale = dp_sgd.divisor(recipe, len(fixed.y)) / unit
    silent = hparams._replace(noise_multiplier=0.0)

    def clipped(params, record):
      """One candidate's gradient (P,), in units of the noise."""
      x, y = record.x[None], record.y[None]
      own = clipping.clipped_sum(
        model.apply, params, x, y, 1.0, hparams.clip_norm
      )
      return tree.flatten(own) / unit

    def step(evidence, shown):
      t, params, gradient = shown
      # The mechanism itself, without target and noise, gives the known part.
      known = mechanism(keys, t, params, fixed, None, silent)
      rest = scale * tree.flatten(optax.tree.sub(gradient, known))
      own = jax.vmap(clipped, (None, 0))(params, candidates)
      gram = own @ own.T
      log_ratio = own @ rest - jnp.diag(gram) / 2
      if q < 1:
        log_ratio = jnp.logaddexp(math.log1p(-q), math.log(q) + log_ratio)
      return jax.tree.map(jnp.add, evidence, Evidence(log_ratio, gram)), None

    start = Evidence(jnp.zeros(count) + log_prior, jnp.zeros((count, count)))
    return jax.lax.scan(step, start, (jnp.arange(recipe.steps), *transcript))[0]

  return attack
