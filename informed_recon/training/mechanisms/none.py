"""No mechanism: the exact gradient, of all records or of mini-batches.

At full batch the mean goes over the n+1 records the model sees,

  L(θ) = [Σ_{i in D₋} ℓ(θ; x_i, y_i) + ℓ(θ; z)] / (n + 1) + (l2/2) ‖θ‖²,

with ℓ the softmax cross-entropy. The fixed set's sum and the target's term are
computed apart: under vmap over targets the fixed set has no model axis, so its
products over all models are one wide matrix product and it is never copied.
"""

import jax
import jax.numpy as jnp

from informed_recon.models import Model
from informed_recon.training import microbatch
from informed_recon.training.fast import full_batch
from informed_recon.training.recipe import Gradient, Recipe, cross_entropy
from informed_recon.types import Records, UserError

fast = full_batch.program


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the batch's mean loss, with penalty.

  Mini-batches go through a new permutation of the n+1 records every epoch,
  the target in slot n, leaving out the last incomplete batch. For the base
  model means and permutations are over n.

  Raises:
    UserError: a batch larger than the data.
  """

  def fixed_loss(params, x, y, weight):
    return jnp.sum(weight * cross_entropy(model.apply(params, x), y))

  def target_loss(params, target):
    logits = model.apply(params, target.x[None])
    return cross_entropy(logits, target.y[None])[0]

  def of_fixed(params, step, x, y, weight):
    few, stop = recipe.sample, jax.lax.stop_gradient
    if not few or few >= len(y):
      return microbatch.gradient(fixed_loss, params, x, y, weight)
    total = microbatch.gradient(fixed_loss, stop(params), x, y, weight)
    # In turn: what a step leaves out adds up to less than it would always.
    turn = (few * step + jnp.arange(few)) % len(y)
    some = x[turn], y[turn], len(y) / few * weight[turn]
    part = microbatch.gradient(fixed_loss, params, *some)
    # The value of the one and the derivative of the other.
    return jax.tree.map(lambda t, p: t + (p - stop(p)), total, part)

  def gradient(keys, step, params, fixed, target, hparams):
    seen = len(fixed.y) + (target is not None)
    if recipe.batch_size > seen:
      raise UserError(
        f"training.batch_size {recipe.batch_size} exceeds the {seen} records"
      )

    x, y, weight, present, size = _batch(
      recipe.batch_size, seen, fixed, keys.order, step
    )
    total = of_fixed(params, step, x, y, weight)
    if target is not None:
      of_target = jax.grad(target_loss)(params, target)
      total = jax.tree.map(lambda f, t: f + present * t, total, of_target)
    return jax.tree.map(lambda g, p: g / size + hparams.l2 * p, total, params)

  return gradient


def statement(privacy: dict, steps: int) -> dict:
  """No guarantee at all."""
  del privacy, steps
  return dict(mechanism="none", epsilon=None)


def _batch(batch_size: int, seen: int, fixed: Records, key, step):
  """Fixed records of this step, their weights, the target's, and the size."""
  n = len(fixed.y)
  if not batch_size:
    return *fixed, jnp.ones(n), 1.0, seen
  per_epoch = seen // batch_size
  epoch_key = jax.random.fold_in(key, step // per_epoch)
  order = jax.random.permutation(epoch_key, seen)
  slots = jax.lax.dynamic_slice_in_dim(
    order, (step % per_epoch) * batch_size, batch_size
  )
  is_fixed = slots < n
  index = jnp.where(is_fixed, slots, 0)  # the target's slot carries no weight
  weight = is_fixed.astype(jnp.float32)
  return fixed.x[index], fixed.y[index], weight, 1.0 - weight.min(), batch_size
