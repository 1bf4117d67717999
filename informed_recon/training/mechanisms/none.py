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
from informed_recon.training.recipe import Gradient, Recipe, cross_entropy
from informed_recon.types import Records, UserError


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the batch's mean loss, with penalty.

  Mini-batches go through a new permutation of the n+1 records every epoch,
  the target in slot n, leaving out the last incomplete batch. For the base
  model means and permutations are over n.

  Raises:
    UserError: a batch larger than the data.
  """

  def gradient(keys, step, params, fixed, target, hparams):
    seen = len(fixed.y) + (target is not None)
    if recipe.batch_size > seen:
      raise UserError(
        f"training.batch_size {recipe.batch_size} exceeds the {seen} records"
      )
    x, y, weight, present, size = _batch(
      recipe.batch_size, seen, fixed, keys.order, step
    )
    total = of_fixed(model, params, x, y, weight)
    if target is not None:
      total = with_target(model, params, total, target, present)
    return jax.tree.map(lambda g, p: g / size + hparams.l2 * p, total, params)

  return gradient


def of_fixed(model: Model, params, x, y, weight):
  """The gradient of Σ_i weight_i ℓ(params; x_i, y_i), like `params`."""

  def loss(params, x, y, weight):
    return jnp.sum(weight * cross_entropy(model.apply(params, x), y))

  return microbatch.gradient(loss, params, x, y, weight)


def with_target(model: Model, params, total, target: Records, present=1.0):
  """`total`, a sum of gradients, and the target's own times `present`."""

  def loss(params):
    logits = model.apply(params, target.x[None])
    return cross_entropy(logits, target.y[None])[0]

  own = jax.grad(loss)(params)
  return jax.tree.map(lambda f, t: f + present * t, total, own)


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
