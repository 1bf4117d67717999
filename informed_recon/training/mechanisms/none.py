"""No mechanism: the exact gradient, of all records or of mini-batches.

At full batch the mean goes over the n+1 records the model sees,

  L(θ) = [Σ_{i in D₋} ℓ(θ; x_i, y_i) + ℓ(θ; z)] / (n + 1) + (l2/2) ‖θ‖²,

with ℓ the softmax cross-entropy; mini-batches are those of `training.batches`.
"""

from informed_recon.models import Model
from informed_recon.training import batches
from informed_recon.training.recipe import Gradient, Recipe


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the batch's mean loss, with penalty.

  Raises:
    UserError: a batch larger than the data.
  """

  def gradient(keys, step, params, fixed, target, hparams):
    batch = batches.draw(recipe.batch_size, fixed, target, keys.order, step)
    return batches.mean_gradient(model, params, batch, target, hparams.l2)

  return gradient


def statement(privacy: dict, steps: int) -> dict:
  """No guarantee at all."""
  del privacy, steps
  return dict(mechanism="none", epsilon=None)
