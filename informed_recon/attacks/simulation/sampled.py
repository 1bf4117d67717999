"""Training whose derivative looks at a few fixed records a step.

Differentiating through T steps of training costs a product with the Hessian of
all n fixed records in each. An unbiased stand-in needs m of them,

  g = stop(Σ_{i in D₋} ∇ℓ_i) + (n/m) Σ_{i in S_t} [∇ℓ_i - stop(∇ℓ_i)] + ∇ℓ(z),

S_t being other records in every step: the value is that of the whole sum, the
derivative that of the sample's. Derived for this project.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from informed_recon.models import Model
from informed_recon.training import batches
from informed_recon.training.mechanisms import none
from informed_recon.training.recipe import Gradient, Recipe
from informed_recon.types import Records, UserError


def sampled_gradient(
  model: Model, recipe: Recipe, sample: int
) -> Gradient | None:
  """What `loop.make_train` takes as `gradient`; None for `sample` 0, where the
  derivative is to be that of all records.

  Args:
    model: the released model's architecture.
    recipe: its training; full batches, no privacy, products in float32.
    sample: m, records a step; n or more are all of them.

  Raises:
    UserError: a sample below 0, or of another kind of training.
  """
  if sample < 0:
    raise UserError(
      f"sample must be 0 (all fixed records) or more, got {sample}"
    )
  plain = recipe.mechanism == "none" and recipe.products == "float32"
  if sample and (recipe.batch_size or not plain):
    raise UserError(
      "derivatives by a sample of the fixed set want full batches, no privacy "
      "and products in float32; use sample=0"
    )
  if not sample:
    return None
  whole = none.make(model, recipe)

  def sampled(keys, step, params, fixed, target, hparams):
    n = len(fixed.y)
    if sample >= n:
      return whole(keys, step, params, fixed, target, hparams)
    total = by_sample(
      partial(batches.of_fixed, model), params, fixed, sample, step
    )
    if target is not None:
      total = batches.with_target(model, params, total, target)
    size = n + (target is not None)
    return jax.tree.map(lambda g, p: g / size + hparams.l2 * p, total, params)

  return sampled


def by_sample(total: Callable, params, records: Records, size: int, step):
  """`total(params, x, y, weight)` of all records, differentiated by a sample.

  The value is that over all n records with weights of 1; the derivative in
  `params` is that over `size` of them with weights of n / size. The sample goes
  round the records from step to step.
  """
  (x, y), stop = records, jax.lax.stop_gradient
  n = len(y)
  whole = total(stop(params), x, y, jnp.ones(n))
  # In turn: what a step leaves out adds up to less than it would always.
  turn = (size * step + jnp.arange(size)) % n
  part = total(params, x[turn], y[turn], n / size * jnp.ones(n)[turn])
  # The value of the one and the derivative of the other.
  return jax.tree.map(lambda t, p: t + (p - stop(p)), whole, part)
