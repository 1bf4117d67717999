"""What a training run is given and what it shows, as types.

`Recipe` is static, `HParams` are traced; `informed_recon.training.loop` makes a
run of them. Nothing here depends on how a mechanism or a faster way works.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from informed_recon.types import Records

PRODUCTS = ("float32", "tensorfloat32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What is static in a training run (a change recompiles)."""

  steps: int = 100
  batch_size: int = 0  # 0: full batch
  optimizer: str = "sgd"
  optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  schedule: str = "constant"
  ema: float = 0.0  # decay of the parameters' average, which is the result
  # One of `PRODUCTS`. Other than float32: of the first layer's products with
  # what all models share, each model trained as its difference to a base run
  # (`training.fast`).
  products: str = "float32"
  mechanism: str = "none"  # file name in informed_recon/training/mechanisms/
  sampling_probability: float = 1.0  # of a record in a step; dp_sgd
  # Of a mechanism that has any.
  mechanism_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


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


Train = Callable[[Keys, Records, Records, HParams], Any]
# (keys, step, params, fixed, target, hparams) -> a pytree like params
Gradient = Callable[[Keys, jax.Array, Any, Records, Records, HParams], Any]


def cross_entropy(
  logits: jax.Array, labels: jax.Array, axis: int = -1
) -> jax.Array:
  """Per-record loss (B,) from logits (B, K), or (K, B) with `axis=0`."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, labels, axis)
