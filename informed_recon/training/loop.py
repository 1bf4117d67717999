"""One training run as one pure function of keys, fixed set and target.

Every step the optimiser gets what the recipe's mechanism shows it of the
objective's gradient: all of it, or a private estimate (one file each in
`training/mechanisms`). Where `training.fast` knows a faster way to the same
parameters, that is taken.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from informed_recon import registry
from informed_recon.models import Model
from informed_recon.training import fast, optimizers
from informed_recon.training.recipe import (
  PRODUCTS,
  Gradient,
  Recipe,
  Train,
  Transcript,
)
from informed_recon.types import Records, UserError


def make_train(
  model: Model,
  recipe: Recipe,
  *,
  gradient: Gradient | None = None,
  transcript: bool = False,
  lit: np.ndarray | None = None,
  remat: bool = False,
) -> Train:
  """Returns `train(keys, fixed, target, hparams) -> params`.

  `fixed` holds n records (n, *shape); `target` is one record without a batch
  axis. `target=None` trains on the fixed set alone (the base model), with the
  same initial parameters.

  Args:
    model: the architecture.
    recipe: what is static.
    gradient: what each step sees. By default, what the recipe's mechanism
      defines, and a run with a target takes the faster way of `training.fast`
      where there is one; a gradient that is given is always evaluated as it is.
    transcript: `train` returns `(params, Transcript)`, without a faster way.
    lit: (*shape) booleans, false only where every fixed record to come is zero;
      it changes the cost alone.
    remat: whoever differentiates through training keeps the parameters of every
      step and computes the rest again: less memory, more time.

  Raises:
    UserError: unknown mechanism, optimiser, schedule or products, or settings
      that do not go together.
  """
  _check(recipe)
  take_faster = gradient is None and not transcript
  if gradient is None:
    mechanism = registry.find("training.mechanisms", recipe.mechanism)
    gradient = mechanism.make(model, recipe)
  if recipe.products != "float32" and fast.program(model, recipe, 1) is None:
    raise UserError(
      f"products in {recipe.products} want full batches, a dense first layer, "
      "an optimizer linear in the gradient, and no privacy; use "
      "training.products='float32' and perf.tensorfloat32=False"
    )

  # An accelerator's default rounds what it multiplies to fewer bits than the
  # difference that one record makes.
  @jax.default_matmul_precision("highest")
  def train(keys, fixed, target, hparams):
    fixed = Records(*map(jnp.asarray, fixed))  # NumPy takes no traced index
    optimizer = _optimizer(recipe, hparams.learning_rate)
    params, program = model.init(keys.init), None
    if take_faster and target is not None:
      program = fast.program(model, recipe, len(fixed.y), lit)
    if program is not None:
      params, given = program.enter(params, fixed, target)

    def advance(carry, step):
      params, state, average = carry
      if program is not None:
        grads = program.gradient(params, given, hparams)
      else:
        grads = gradient(keys, step, params, fixed, target, hparams)
      updates, state = optimizer.update(grads, state, params)
      shown = Transcript(params, grads) if transcript else None
      params = optax.apply_updates(params, updates)
      # Other coordinates are affine in the parameters: so is their average.
      if recipe.ema:
        average = optax.incremental_update(params, average, 1 - recipe.ema)
      return (params, state, average), shown

    body = jax.checkpoint(advance) if remat else advance
    carry = (params, optimizer.init(params), params if recipe.ema else ())
    carry, shown = jax.lax.scan(body, carry, jnp.arange(recipe.steps))
    params = carry[2] if recipe.ema else carry[0]
    if program is not None:
      params = program.leave(params, given)
    return (params, shown) if transcript else params

  return train


def _check(recipe: Recipe) -> None:
  if recipe.steps < 1:
    raise UserError(f"training.steps must be at least 1, got {recipe.steps}")
  if recipe.batch_size < 0:
    raise UserError(
      f"training.batch_size must be 0 (full batch) or more, "
      f"got {recipe.batch_size}"
    )
  if not 0 <= recipe.ema < 1:
    raise UserError(f"training.ema must lie in [0, 1), got {recipe.ema}")
  if recipe.products not in PRODUCTS:
    raise UserError(
      f"unknown training.products {recipe.products!r}; "
      f"known: {', '.join(PRODUCTS)}"
    )
  _optimizer(recipe, 0.1)  # names are checked here, not inside a trace


def _optimizer(recipe: Recipe, rate) -> optax.GradientTransformation:
  return optimizers.make(
    recipe.optimizer,
    rate,
    recipe.optimizer_options,
    schedule=recipe.schedule,
    steps=recipe.steps,
  )
