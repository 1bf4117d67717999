"""One training run as one pure function of keys, fixed set and target.

The objective at full batch is the mean over the n+1 records the model sees,

  L(θ) = [Σ_{i in D₋} ℓ(θ; x_i, y_i) + ℓ(θ; z)] / (n + 1) + (l2/2) ‖θ‖²,

with ℓ the softmax cross-entropy. The fixed set's sum and the target's term are
computed apart: under vmap over targets the fixed set has no model axis, so its
products over all models are one wide matrix product and it is never copied.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from informed_recon import optimizers
from informed_recon.models import Model
from informed_recon.types import Records, UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What is static in a training run (a change recompiles)."""

  steps: int = 100
  batch_size: int = 0  # 0: full batch
  optimizer: str = "sgd"
  optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  schedule: str = "constant"


class HParams(NamedTuple):
  """What is traced in a training run (a sweep over it compiles once)."""

  learning_rate: float | jax.Array
  l2: float | jax.Array = 0.0  # coefficient of (l2/2)‖θ‖², all parameters


class Keys(NamedTuple):
  """One key a purpose; which of them differ between models is the threat
  model's choice (`informed_recon.training.ensemble`)."""

  init: jax.Array
  order: jax.Array  # mini-batch order


Train = Callable[[Keys, Records, Records, HParams], Any]


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Per-record loss (B,) from logits (B, K)."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def make_train(model: Model, recipe: Recipe) -> Train:
  """Returns `train(keys, fixed, target, hparams) -> params`.

  `fixed` holds n records (n, *shape); `target` is one record without a batch
  axis. `target=None` trains on the fixed set alone (the base model), with the
  same initial parameters and, at full batch, a mean over n.

  Mini-batches go through a new permutation of the n+1 records every epoch,
  the target in slot n, leaving out the last incomplete batch.

  Raises:
    UserError: unknown optimiser or schedule, or a batch larger than the data.
  """
  if recipe.steps < 1:
    raise UserError(f"training.steps must be at least 1, got {recipe.steps}")
  if recipe.batch_size < 0:
    raise UserError(
      f"training.batch_size must be 0 (full batch) or more, "
      f"got {recipe.batch_size}"
    )
  _optimizer(recipe, 0.1)  # names are checked here, not inside a trace

  def fixed_loss(params, x, y, weight):
    return jnp.sum(weight * cross_entropy(model.apply(params, x), y))

  def target_loss(params, target):
    logits = model.apply(params, target.x[None])
    return cross_entropy(logits, target.y[None])[0]

  def train(keys, fixed, target, hparams):
    fixed = Records(*map(jnp.asarray, fixed))  # NumPy takes no traced index
    seen = len(fixed.y) + (target is not None)
    if recipe.batch_size > seen:
      raise UserError(
        f"training.batch_size {recipe.batch_size} exceeds the {seen} records"
      )
    optimizer = _optimizer(recipe, hparams.learning_rate)
    params = model.init(keys.init)

    def loss(params, step):
      x, y, weight, present, size = _batch(
        recipe.batch_size, seen, fixed, keys.order, step
      )
      total = fixed_loss(params, x, y, weight)
      if target is not None:
        total = total + present * target_loss(params, target)
      penalty = 0.5 * hparams.l2 * optax.tree.norm(params, squared=True)
      return total / size + penalty

    def update(carry, step):
      params, state = carry
      grads = jax.grad(loss)(params, step)
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    carry = (params, optimizer.init(params))
    (params, _), _ = jax.lax.scan(update, carry, jnp.arange(recipe.steps))
    return params

  return train


def _optimizer(recipe: Recipe, rate) -> optax.GradientTransformation:
  return optimizers.make(
    recipe.optimizer,
    rate,
    recipe.optimizer_options,
    schedule=recipe.schedule,
    steps=recipe.steps,
  )


def _batch(batch_size: int, seen: int, fixed: Records, key, step):
  """Fixed records of this step, their weights, the target's, and the size."""
  n = len(fixed.y)
  if not batch_size:
    return fixed.x, fixed.y, 1.0, 1.0, seen
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
