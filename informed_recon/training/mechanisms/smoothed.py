"""Label smoothing: the label counts for less, all classes for a little.

  ℓ_s(θ; x, y) = (1 - s) ℓ(θ; x, y) + (s / K) Σ_k ℓ(θ; x, k)

with ℓ the softmax cross-entropy and s the `smoothing` (Szegedy et al. 2016,
section 7), else as in `none`.
"""

import jax
import jax.numpy as jnp

from informed_recon.models import Model
from informed_recon.training import batches
from informed_recon.training.mechanisms import read_options
from informed_recon.training.recipe import Gradient, Recipe, cross_entropy
from informed_recon.types import UserError

OPTIONS = dict(smoothing=0.1)  # s


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the batch's mean loss, with penalty.

  Raises:
    UserError: a smoothing out of range, or a batch larger than the data.
  """
  share = _options(recipe.mechanism_options)["smoothing"]

  def loss(logits, labels):
    uniform = -jnp.mean(jax.nn.log_softmax(logits), -1)
    return (1 - share) * cross_entropy(logits, labels) + share * uniform

  def gradient(keys, step, params, fixed, target, hparams):
    batch = batches.draw(recipe.batch_size, fixed, target, keys.order, step)
    return batches.mean_gradient(model, params, batch, target, hparams.l2, loss)

  return gradient


def statement(privacy: dict, steps: int) -> dict:
  """No guarantee at all."""
  del steps
  options = _options(privacy.get("options", {}))
  return dict(mechanism="smoothed", epsilon=None) | options


def _options(given) -> dict:
  options = read_options(given, OPTIONS)
  if not 0 <= options["smoothing"] < 1:
    raise UserError(
      "training.privacy.options.smoothing must lie in [0, 1), got "
      f"{options['smoothing']}"
    )
  return options
