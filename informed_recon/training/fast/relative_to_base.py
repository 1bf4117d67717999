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

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from informed_recon.training.fast import first_layer, full_batch
from informed_recon.training.recipe import HParams
from informed_recon.types import Records


class Trained(NamedTuple):
  """Both runs, which the optimiser moves side by side."""

  base: full_batch.Trained  # B, the same for all models
  difference: full_batch.Trained  # D


class Given(NamedTuple):
  """What stays the same in all steps."""

  base: full_batch.Given  # without a target
  model: full_batch.Given
  rounded: Any  # the model's `layer`, what all models share in shorter numbers


@dataclasses.dataclass(frozen=True)
class RelativeToBase:
  """`plain` with the shared products of the differences in shorter numbers."""

  plain: full_batch.FullBatch
  number: str  # one of `recipe.PRODUCTS`; sums are float32

  def enter(self, params, fixed: Records, target: Records):
    nobody = Records(*map(jnp.zeros_like, target))
    base, of_base = self.plain.enter(params, fixed, nobody)
    whole, of_model = self.plain.enter(params, fixed, target)
    difference = jax.tree.map(jnp.zeros_like, whole)
    rounded = first_layer.lowered(of_model.layer, self.number)
    return Trained(base, difference), Given(of_base, of_model, rounded)

  def gradient(self, trained: Trained, given: Given, hparams: HParams):
    plain, form, number = self.plain, self.plain.form, self.number
    (base, others), (moved, changes) = trained
    # The target's product with the base and its label differ from model to
    # model; what knows of neither is computed once for all of them.
    z, nothing = form.products(base, given.base.layer)
    _, z_target = form.products(base, given.model.layer)
    dz, dz_target = form.products(moved, given.rounded, number)
    of_base, (base_delta, _) = plain.backward(
      others, (z, nothing), given.base, present=0.0
    )
    of_model, (delta, target_delta) = plain.backward(
      jax.tree.map(jnp.add, others, changes),
      (z + dz, z_target + dz_target),
      given.model,
    )
    none = jnp.zeros_like(nothing)
    total = Trained(
      full_batch.Trained(
        form.pull(base_delta, none, base, given.base.layer), of_base
      ),
      full_batch.Trained(
        form.pull(
          delta - base_delta, target_delta, moved, given.rounded, number
        ),
        jax.tree.map(jnp.subtract, of_model, of_base),
      ),
    )
    return plain.mean(total, trained, hparams)

  def leave(self, trained: Trained, given: Given):
    return self.plain.leave(jax.tree.map(jnp.add, *trained), given.model)
