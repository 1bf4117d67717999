"""Adversarial training of the records that matter most.

In every step the records with the largest cross-entropy, a `fraction` of the
batch, are moved to where the loss is larger still, x' within `radius` of x in
every pixel, and the model learns from

  Σ_i [(1 - mix s_i) ℓ(θ; x_i, y_i) + mix s_i ℓ(θ; x'_i, y_i)],   s_i ∈ {0, 1},

over the batch's size, s_i = 1 for the selected. One attack step is FGSM
(Goodfellow et al. 2015), more are PGD from x (Madry et al. 2018). Selection by
cross-entropy follows the abstract of Mendonça, Maroto, Frossard, Diniz (2023,
arXiv 2301.04472); nothing else of their method was at hand, and no reproduction
is claimed. A fraction of 1 is adversarial training of all, of 0 plain training,
by the very operations of `none`. No draw is random but the batches' order.

The moves are signs, which are flat: the derivative of the training in a record
is that of x' = x + const where no bound cuts it off, and so simulated training
can follow it.
"""

import dataclasses

import jax
import jax.numpy as jnp

from informed_recon.models import Model
from informed_recon.training import batches
from informed_recon.training.recipe import Gradient, Recipe, cross_entropy
from informed_recon.types import UserError

REACH = 2.5  # length of all attack steps together, over the radius


@dataclasses.dataclass(frozen=True)
class Options:
  """`training.privacy.options` in a config."""

  fraction: float = 0.25  # of the records in a step, that are attacked
  mix: float = 1.0  # weight of an attacked record's loss; the rest is its own
  steps: int = 1  # of the attack; 1: FGSM
  radius: float = 0.1  # largest change of a pixel


OPTIONS = dataclasses.asdict(Options())


def make(model: Model, recipe: Recipe) -> Gradient:
  """The gradient of the batch's mean loss, the selected records attacked.

  Raises:
    UserError: options out of range, or a batch larger than the data.
  """
  options = _options(recipe.mechanism_options)

  def gradient(keys, step, params, fixed, target, hparams):
    batch = batches.draw(recipe.batch_size, fixed, target, keys.order, step)
    x, y, weight, present, size = batch
    attacked = None
    count = round(options.fraction * size)
    if count:
      x_all, y_all, present_all = x, y, weight
      if target is not None:
        x_all = jnp.concatenate([x, target.x[None]])
        y_all = jnp.append(y, target.y)
        present_all = jnp.append(weight, present)
      loss = cross_entropy(model.apply(params, x_all), y_all)
      loss = jnp.where(present_all > 0, loss, -jnp.inf)
      _, chosen = jax.lax.top_k(loss, count)  # of equals the first
      moved = attack(model, params, x_all[chosen], y_all[chosen], options)
      attacked = batches.of_fixed(
        *(model, params, moved, y_all[chosen]),
        options.mix * present_all[chosen],
      )
      share = present_all.at[chosen].multiply(1 - options.mix)
      weight = share[: len(y)]
      present = share[-1]
    total = batches.of_fixed(model, params, x, y, weight)
    if target is not None:
      total = batches.with_target(model, params, total, target, present)
    if attacked is not None:
      total = jax.tree.map(jnp.add, total, attacked)
    return jax.tree.map(lambda g, p: g / size + hparams.l2 * p, total, params)

  return gradient


def attack(model: Model, params, x, y, options: Options) -> jax.Array:
  """Records (k, *shape) in [0, 1] with a larger loss, within the radius."""
  radius, steps = options.radius, options.steps
  length = radius if steps == 1 else REACH * radius / steps
  low, high = jnp.maximum(x - radius, 0.0), jnp.minimum(x + radius, 1.0)

  def loss(moved):
    return jnp.sum(cross_entropy(model.apply(params, moved), y))

  def advance(moved, _):
    moved = moved + length * jnp.sign(jax.grad(loss)(moved))
    return jnp.clip(moved, low, high), None

  return jax.lax.scan(advance, x, None, length=steps)[0]


def statement(privacy: dict, steps: int) -> dict:
  """No guarantee of privacy.

  Raises:
    UserError: options out of range.
  """
  del steps
  options = _options(privacy.get("options", {}))
  return dict(mechanism="robust", epsilon=None) | dataclasses.asdict(options)


def _options(given) -> Options:
  names = [field.name for field in dataclasses.fields(Options)]
  unknown = sorted(set(given) - set(names))
  if unknown:
    raise UserError(
      f"unknown training.privacy.options {unknown}; known: {', '.join(names)}"
    )
  options = Options(**given)
  for name in ("fraction", "mix"):
    if not 0 <= getattr(options, name) <= 1:
      raise UserError(
        f"training.privacy.options.{name} must lie in [0, 1], got "
        f"{getattr(options, name)}"
      )
  if options.steps < 1 or options.steps != int(options.steps):
    raise UserError(
      "training.privacy.options.steps must be a whole number of at least 1, "
      f"got {options.steps}"
    )
  if not 0 < options.radius <= 1:
    raise UserError(
      "training.privacy.options.radius must lie in (0, 1], got "
      f"{options.radius}"
    )
  return options
