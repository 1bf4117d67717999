"""Augmentation: in every step each image is seen at another place.

An image moves by up to `shift` pixels down or up and to either side, zeros take
the place of what comes in; else as in `none`. The shifts are drawn with the
order of the batches, and are known to the adversary where that is.
"""

import jax
import jax.numpy as jnp

from informed_recon import prng
from informed_recon.models import Model
from informed_recon.training import batches
from informed_recon.training.mechanisms import read_options
from informed_recon.training.recipe import Gradient, Recipe
from informed_recon.types import UserError

OPTIONS = dict(shift=2)  # pixels, at most


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the batch's mean loss, its images shifted, with penalty.

  Raises:
    UserError: a shift below 0, records that are no images, or a batch larger
      than the data.
  """
  shift = _options(recipe.mechanism_options)["shift"]
  if len(model.shape) != 3:
    raise UserError(
      f"mechanism 'augmented' wants images (h, w, c), got {model.shape}"
    )

  def gradient(keys, step, params, fixed, target, hparams):
    batch = batches.draw(recipe.batch_size, fixed, target, keys.order, step)
    key = jax.random.fold_in(prng.stream(keys.order, "shifts"), step)
    # The target's is the last of them, whatever the model.
    shifts = jax.random.randint(key, (len(batch.y) + 1, 2), 0, 2 * shift + 1)
    batch = batch._replace(x=shifted(batch.x, shifts[:-1], shift))
    if target is not None:
      moved = shifted(target.x[None], shifts[-1:], shift)[0]
      target = target._replace(x=moved)
    return batches.mean_gradient(model, params, batch, target, hparams.l2)

  return gradient


def shifted(x: jax.Array, starts: jax.Array, reach: int) -> jax.Array:
  """Images (b, h, w, c), each with `reach` zeros on all sides and cut out
  again from a corner (b, 2) in [0, 2 reach]; `reach` leaves it where it is."""

  def cut(image, start):
    return jax.lax.dynamic_slice(image, (*start, 0), x.shape[1:])

  edge = (reach, reach)
  return jax.vmap(cut)(jnp.pad(x, ((0, 0), edge, edge, (0, 0))), starts)


def statement(privacy: dict, steps: int) -> dict:
  """No guarantee at all."""
  del steps
  options = _options(privacy.get("options", {}))
  return dict(mechanism="augmented", epsilon=None) | options


def _options(given) -> dict:
  options = read_options(given, OPTIONS)
  if options["shift"] < 0 or options["shift"] != int(options["shift"]):
    raise UserError(
      "training.privacy.options.shift must be a whole number of at least 0, "
      f"got {options['shift']}"
    )
  return options
