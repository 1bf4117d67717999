"""The target more than once, or not to the end.

The target is among the records `copies` times, and the last `forgotten` steps
are trained without it, as a model fine-tuned on the others is. Else as in
`none` at full batch.
"""

import jax.numpy as jnp

from informed_recon.models import Model
from informed_recon.training import batches
from informed_recon.training.mechanisms import read_options
from informed_recon.training.recipe import Gradient, Recipe
from informed_recon.types import UserError

OPTIONS = dict(copies=1, forgotten=0)


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the mean loss over all records, with penalty.

  Raises:
    UserError: mini-batches, or options out of range.
  """
  options = _options(recipe.mechanism_options)
  if recipe.batch_size:
    raise UserError(
      "mechanism 'weighted' wants full batches; use training.batch_size=0"
    )

  def gradient(keys, step, params, fixed, target, hparams):
    batch = batches.draw(0, fixed, target, keys.order, step)
    if target is not None:
      seen = step < recipe.steps - options["forgotten"]
      copies = jnp.where(seen, float(options["copies"]), 0.0)
      batch = batch._replace(present=copies, size=len(fixed.y) + copies)
    return batches.mean_gradient(model, params, batch, target, hparams.l2)

  return gradient


def statement(privacy: dict, steps: int) -> dict:
  """No guarantee at all."""
  options = _options(privacy.get("options", {}))
  if options["forgotten"] > steps:
    raise UserError(
      "training.privacy.options.forgotten must be at most training.steps, "
      f"{steps}, got {options['forgotten']}"
    )
  return dict(mechanism="weighted", epsilon=None) | options


def _options(given) -> dict:
  options = read_options(given, OPTIONS)
  for name, least in (("copies", 1), ("forgotten", 0)):
    if options[name] < least or options[name] != int(options[name]):
      raise UserError(
        f"training.privacy.options.{name} must be a whole number of at least "
        f"{least}, got {options[name]}"
      )
  return options
