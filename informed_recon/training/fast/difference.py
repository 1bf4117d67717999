"""Training each model as its difference to one base run.

Shadow models are small departures from the model of the fixed set alone. With
an optimiser that is linear in gradient and parameters the two superpose: the
base run B moves along the gradient g(B) it would have without a target, and a
model's difference D along g(B + D) - g(B). All models share B, which is trained
once, in float32. What is left of the first layer's products has D or a
difference of cotangents for one factor, so that rounding both factors to a
shorter number is an error relative to the *difference*, not to the parameters.
Derived for this project.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from informed_recon.training.fast import first_layer
from informed_recon.training.recipe import Program
from informed_recon.types import Records


def program(plain: Program, form, loss: Callable, mean: Callable, number: str):
  """`plain` with the shared products of the differences in shorter numbers.

  Args:
    plain: holds (first layer as `form` has it, further leaves) of a model.
    form: of the first layer, in `first_layer`.
    loss: (leaves, products, *of the data, present=) -> sum of losses, where
      `present` weighs the target.
    mean: (sum's gradient, what is held, hparams) -> the objective's gradient.
    number: one of `recipe.PRODUCTS`; sums are float32.
  """

  def enter(params, fixed, target):
    nobody = Records(*map(jnp.zeros_like, target))
    base, of_base = plain.enter(params, fixed, nobody)
    held, (of_model, data) = plain.enter(params, fixed, target)
    difference = jax.tree.map(jnp.zeros_like, held)
    given = of_base, of_model, first_layer.lowered(of_model, number), data
    return (base, difference), given

  def gradient(held, given, hparams):
    (base, leaves), (moved, changes) = held
    (of_base, base_data), of_model, low, data = given
    # The target's product with the base and its label differ from model to
    # model; what knows of neither is computed once for all of them.
    z, nothing = form.products(base, of_base)
    _, z_target = form.products(base, of_model)
    dz, dz_target = form.products(moved, low, number)
    base_grads, (base_delta, _) = jax.grad(loss, (0, 1))(
      leaves, (z, nothing), *base_data, present=0.0
    )
    grads, (delta, target_delta) = jax.grad(loss, (0, 1))(
      jax.tree.map(jnp.add, leaves, changes),
      (z + dz, z_target + dz_target),
      *data,
    )
    none = jnp.zeros_like(nothing)
    total = (
      (form.pull(base_delta, none, base, of_base), base_grads),
      (
        form.pull(delta - base_delta, target_delta, moved, low, number),
        jax.tree.map(jnp.subtract, grads, base_grads),
      ),
    )
    return mean(total, held, hparams)

  def leave(held, given):
    _, of_model, _, data = given
    return plain.leave(jax.tree.map(jnp.add, *held), (of_model, data))

  return Program(enter, gradient, leave)
