"""One training run as one pure function of keys, fixed set and target.

Every step the optimiser gets what the recipe's mechanism shows it of the
objective's gradient: all of it, or a private estimate (one file each in
`training/mechanisms`). A mechanism may know a faster way to the same
parameters, a `Program`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from informed_recon import registry
from informed_recon.models import Model
from informed_recon.training import optimizers
from informed_recon.types import Records, UserError


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What is static in a training run (a change recompiles)."""

  steps: int = 100
  batch_size: int = 0  # 0: full batch
  optimizer: str = "sgd"
  optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  schedule: str = "constant"
  # Other than float32: of the first layer's products with what all models
  # share, each model trained as its difference to a base run
  # (`training.difference`).
  products: str = "float32"
  mechanism: str = "none"  # file name in informed_recon/training/mechanisms/
  sampling_probability: float = 1.0  # of a record in a step; dp_sgd
  # Where training is differentiated through, so many fixed records stand for
  # all of them, others in every step; 0: all. No value changes.
  sample: int = 0


class HParams(NamedTuple):
  """What is traced in a training run (a sweep over it compiles once)."""

  learning_rate: float | jax.Array
  l2: float | jax.Array = 0.0  # coefficient of (l2/2)‖θ‖², all parameters
  clip_norm: float | jax.Array = 1.0  # C; dp_sgd
  noise_multiplier: float | jax.Array = 0.0  # σ, noise over C; dp_sgd


class Keys(NamedTuple):
  """One key a purpose; which of them differ between models is the threat
  model's choice (`informed_recon.training.ensemble`)."""

  init: jax.Array
  order: jax.Array  # mini-batch order
  noise: jax.Array | None = None  # of a private mechanism; never shared
  sampling: jax.Array | None = None  # likewise: who takes part in a step


class Transcript(NamedTuple):
  """What every step showed, T entries."""

  params: Any  # before the step
  gradient: Any  # the mechanism's estimate there


class Program(NamedTuple):
  """A run whose parameters are held in another form while it trains.

  The optimiser moves what is held as it would move the parameters.
  """

  enter: Callable[[Any, Records, Records], tuple[Any, Any]]  # -> held, given
  gradient: Callable[[Any, Any, HParams], Any]  # held, given -> like held
  leave: Callable[[Any, Any], Any]  # held, given -> params


PRODUCTS = ("float32", "tensorfloat32", "bfloat16")

Train = Callable[[Keys, Records, Records, HParams], Any]
Gradient = Callable[[Keys, jax.Array, Any, Records, Records, HParams], Any]


def cross_entropy(
  logits: jax.Array, labels: jax.Array, axis: int = -1
) -> jax.Array:
  """Per-record loss (B,) from logits (B, K), or (K, B) with `axis=0`."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels, axis)


def make_train(
  model: Model,
  recipe: Recipe,
  transcript: bool = False,
  lit: np.ndarray | None = None,
  remat: bool = False,
) -> Train:
  """Returns `train(keys, fixed, target, hparams) -> params`.

  `fixed` holds n records (n, *shape); `target` is one record without a batch
  axis. `target=None` trains on the fixed set alone (the base model), with the
  same initial parameters.

  With `transcript`, `train` returns `(params, Transcript)`, from the gradient
  as its mechanism defines it; else a target is trained by the mechanism's
  `fast` program, where it has one for this model and recipe. `lit` (*shape)
  tells it which inputs are not zero in all of the fixed set to come, which must
  be so; it changes the cost alone. With `remat`, who differentiates through
  training keeps the parameters of every step and computes the rest of it again,
  which takes less memory and more time.

  Raises:
    UserError: unknown mechanism, optimiser, schedule or products, or settings
      that do not go together.
  """
  if recipe.steps < 1:
    raise UserError(f"training.steps must be at least 1, got {recipe.steps}")
  if recipe.batch_size < 0:
    raise UserError(
      f"training.batch_size must be 0 (full batch) or more, "
      f"got {recipe.batch_size}"
    )
  if recipe.products not in PRODUCTS:
    raise UserError(
      f"unknown training.products {recipe.products!r}; "
      f"known: {', '.join(PRODUCTS)}"
    )
  plain = recipe.mechanism == "none" and recipe.products == "float32"
  if recipe.sample < 0:
    raise UserError(
      f"sample must be 0 (all fixed records) or more, got {recipe.sample}"
    )
  if recipe.sample and (recipe.batch_size or not plain):
    raise UserError(
      "derivatives by a sample of the fixed set want full batches, no privacy "
      "and products in float32; use sample=0"
    )
  _optimizer(recipe, 0.1)  # names are checked here, not inside a trace
  mechanism = registry.find("training.mechanisms", recipe.mechanism)
  gradient = mechanism.make(model, recipe)
  fast = None if recipe.sample else getattr(mechanism, "fast", None)
  if recipe.products != "float32" and not (fast and fast(model, recipe, 1)):
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
    params = model.init(keys.init)
    program = None
    if fast and target is not None and not transcript:
      program = fast(model, recipe, len(fixed.y), lit)
    if program:
      params, given = program.enter(params, fixed, target)

    def advance(carry, step):
      params, state = carry
      if program:
        grads = program.gradient(params, given, hparams)
      else:
        grads = gradient(keys, step, params, fixed, target, hparams)
      updates, state = optimizer.update(grads, state, params)
      shown = Transcript(params, grads) if transcript else None
      return (optax.apply_updates(params, updates), state), shown

    body = jax.checkpoint(advance) if remat else advance
    carry = (params, optimizer.init(params))
    (params, _), shown = jax.lax.scan(body, carry, jnp.arange(recipe.steps))
    if program:
      params = program.leave(params, given)
    return (params, shown) if transcript else params

  return train


def _optimizer(recipe: Recipe, rate) -> optax.GradientTransformation:
  return optimizers.make(
    recipe.optimizer,
    rate,
    recipe.optimizer_options,
    schedule=recipe.schedule,
    steps=recipe.steps,
  )
