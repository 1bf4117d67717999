"""The records of a step, and sums of gradients over them.

The fixed set's sum and the target's term are computed apart: under vmap over
targets the fixed set has no model axis, so its products over all models are one
wide matrix product and it is never copied.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from informed_recon.models import Model
from informed_recon.training import microbatch
from informed_recon.training.recipe import cross_entropy
from informed_recon.types import Records, UserError


class Batch(NamedTuple):
  """Fixed records of a step, and whether the target is among its records."""

  x: jax.Array  # (b, *shape)
  y: jax.Array  # (b,)
  weight: jax.Array  # (b,) 0 in the place of the target, else 1
  present: jax.Array | float  # weight of the target
  size: int  # records of the step, that a mean is over


def draw(
  batch_size: int, fixed: Records, target: Records | None, key, step
) -> Batch:
  """The records of a step; all of them where `batch_size` is 0.

  Mini-batches go through a new permutation of the n+1 records every epoch,
  the target in slot n, leaving out the last incomplete batch. For the base
  model means and permutations are over n.

  Raises:
    UserError: a batch larger than the data.
  """
  n = len(fixed.y)
  seen = n + (target is not None)
  if batch_size > seen:
    raise UserError(
      f"training.batch_size {batch_size} exceeds the {seen} records"
    )
  if not batch_size:
    return Batch(*fixed, jnp.ones(n), 1.0, seen)
  per_epoch = seen // batch_size
  epoch_key = jax.random.fold_in(key, step // per_epoch)
  order = jax.random.permutation(epoch_key, seen)
  slots = jax.lax.dynamic_slice_in_dim(
    order, (step % per_epoch) * batch_size, batch_size
  )
  is_fixed = slots < n
  index = jnp.where(is_fixed, slots, 0)  # the target's slot carries no weight
  weight = is_fixed.astype(jnp.float32)
  present = 1.0 - weight.min()
  return Batch(fixed.x[index], fixed.y[index], weight, present, batch_size)


def of_fixed(model: Model, params, x, y, weight, loss=cross_entropy):
  """The gradient of Σ_i weight_i ℓ(params; x_i, y_i), like `params`, with ℓ
  `loss(logits (b, K), labels (b,)) -> (b,)`."""

  def total(params, x, y, weight):
    return jnp.sum(weight * loss(model.apply(params, x), y))

  return microbatch.gradient(total, params, x, y, weight)


def with_target(
  model: Model,
  params,
  total,
  target: Records,
  present=1.0,
  loss=cross_entropy,
):
  """`total`, a sum of gradients, and the target's own times `present`."""

  def own_loss(params):
    logits = model.apply(params, target.x[None])
    return loss(logits, target.y[None])[0]

  own = jax.grad(own_loss)(params)
  return jax.tree.map(lambda f, t: f + present * t, total, own)


def mean_gradient(
  model: Model,
  params,
  batch: Batch,
  target: Records | None,
  l2,
  loss=cross_entropy,
):
  """The gradient of a batch's mean loss with (l2/2)‖params‖²."""
  total = of_fixed(model, params, batch.x, batch.y, batch.weight, loss)
  if target is not None:
    total = with_target(model, params, total, target, batch.present, loss)
  return jax.tree.map(lambda g, p: g / batch.size + l2 * p, total, params)
