"""What one step of fitting a reconstructor network does.

The network φ minimises, over shadow models θ_i and their targets z_i, the mean
of

  MAE + MSE + perceptual distance + ½ (D(φ(θ_i)) - 1)²,

each with its weight (Balle, Cherubin, Hayes 2022), D a patch discriminator that
learns beside it. A term of weight 0 is not computed.

There is no augmentation. A flipped z_i is not the record that θ_i was trained
on, and flipping θ_i does not give the parameters that it would have trained,
since the initial weights are not symmetric. So a further pair costs a further
shadow model.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from informed_recon import compiler, prng
from informed_recon.attacks.reconstructor import discriminator
from informed_recon.attacks.reconstructor.standardisation import Standard
from informed_recon.types import UserError

# (B, *shape) twice -> (B,), a pytree whose leaves are its weights.
Perceptual = Callable[[jax.Array, jax.Array], jax.Array]


@dataclasses.dataclass(frozen=True)
class Fit:
  """How a reconstructor network is trained."""

  optimizer: str = "rmsprop"
  optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  learning_rate: float = 3e-4
  schedule: str = "constant"
  epochs: int = 200
  batch_size: int = 32
  mae_weight: float = 1.0
  mse_weight: float = 1.0
  # Share of the shadow models kept for early stopping; 0 trains on all of them
  # for all epochs and takes the last network.
  holdout: float = 0.05
  patience: int = 20  # epochs without a better held-out loss before the stop
  perceptual_weight: float = 0.0
  adversarial_weight: float = 0.0
  ema: float = 0.0  # decay a step of the parameters' average, which answers
  dtype: str = "float32"  # of the network's products; or bfloat16


class Learner(NamedTuple):
  """All that a step changes."""

  params: Any
  opt_state: Any
  ema: Any = None  # the parameters' average; None: `params` answer
  critic: Any = None  # parameters and optimiser state of the discriminator

  @property
  def answering(self) -> Any:
    return self.params if self.ema is None else self.ema


class Steps(NamedTuple):
  """Pure functions, jitted."""

  start: Callable[[], Learner]
  # (learner, standard, perceptual, θ (B, P), z, count) -> learner, mean loss
  # of the batch without the discriminator's; the learner's buffers are donated
  step: Callable
  # The steps of an epoch in one program, from what lies on the device:
  # (learner, standard, perceptual, θ (N, P), z (N, *shape), order (S, B), count
  # of the first) -> learner, losses (S,)
  epoch: Callable
  predict: Callable  # (params, standard, θ) -> z
  summed_loss: Callable  # (params, standard, perceptual, θ, z) -> that loss


def check(spec: Fit) -> None:
  """Refuses settings that make no sense, with a `UserError`."""
  weights = ("mae", "mse", "perceptual", "adversarial")
  for name in (f"{w}_weight" for w in weights):
    if not 0 <= getattr(spec, name) < math.inf:
      raise UserError(
        f"{name} must be at least 0 and finite, got {getattr(spec, name)}"
      )
  if not spec.mae_weight + spec.mse_weight + spec.perceptual_weight:
    raise UserError(
      "one of mae_weight, mse_weight and perceptual_weight must be above 0: "
      "nothing else says how near a drawing is"
    )
  if not 0 < spec.learning_rate < math.inf:
    raise UserError(
      f"learning_rate must be above 0 and finite, got {spec.learning_rate}"
    )
  if not 0 <= spec.ema < 1:
    raise UserError(f"ema must be 0 (none) or a decay below 1, got {spec.ema}")
  if spec.dtype not in ("float32", "bfloat16"):
    raise UserError(f"dtype must be float32 or bfloat16, got {spec.dtype!r}")


def make(
  network: nn.Module,
  spec: Fit,
  optimizer: optax.GradientTransformation,
  num_params: int,
  key: jax.Array,
) -> Steps:
  """The steps of `spec` for a network of `attacks.reconstructor.networks`.

  A step depends on its arguments, `key` and its number `count` alone. The
  discriminator has the optimiser of the network.
  """
  dropout_key = prng.stream(key, "dropout")
  dtype = jnp.dtype(spec.dtype)
  critic_network = discriminator.Network()

  def draw(params, standard: Standard, batch, **how):
    # Standardised in float32: shadow models differ by little.
    x = standard(batch)
    if dtype != jnp.float32:
      params, x = optax.tree.cast(params, dtype), x.astype(dtype)
    return network.apply(params, x, **how).astype(jnp.float32)

  def losses(perceptual, prediction, truth):
    error = prediction - truth
    mae = jnp.mean(jnp.abs(error), axis=tuple(range(1, error.ndim)))
    mse = jnp.mean(jnp.square(error), axis=tuple(range(1, error.ndim)))
    loss = spec.mae_weight * mae + spec.mse_weight * mse
    if spec.perceptual_weight:
      loss = loss + spec.perceptual_weight * perceptual(prediction, truth)
    return loss

  def start():
    example = jnp.zeros((1, num_params))
    params = network.init(prng.stream(key, "init"), example, train=False)
    ema = jax.tree.map(jnp.copy, params) if spec.ema else None
    critic = None
    if spec.adversarial_weight:
      critic = critic_network.init(
        prng.stream(key, "discriminator"), jnp.zeros((1, *network.record_shape))
      )
      critic = critic, optimizer.init(critic)
    return Learner(params, optimizer.init(params), ema, critic)

  def step(learner, standard, perceptual, batch, truth, count):
    def loss(params):
      rngs = {"dropout": jax.random.fold_in(dropout_key, count)}
      prediction = draw(params, standard, batch, train=True, rngs=rngs)
      value = total = jnp.mean(losses(perceptual, prediction, truth))
      if spec.adversarial_weight:
        score = partial(critic_network.apply, learner.critic[0])
        fooled = discriminator.drawing_loss(score, prediction)
        total = total + spec.adversarial_weight * fooled
      return total, (value, prediction)

    grads, (value, prediction) = jax.grad(loss, has_aux=True)(learner.params)
    params, opt_state = update(grads, learner.opt_state, learner.params)
    ema, critic = learner.ema, learner.critic
    if spec.ema:
      # Shorter at first, or it would remember the initial parameters.
      decay = jnp.minimum(spec.ema, (1 + count) / (10 + count))
      ema = optax.incremental_update(params, ema, 1 - decay)
    if spec.adversarial_weight:
      critic = judge(critic, truth, prediction)
    return Learner(params, opt_state, ema, critic), value

  def epoch(learner, standard, perceptual, rows, records, order, count):
    def one(learner, now):
      ids, i = now
      batch = rows[ids], records[ids]
      return step(learner, standard, perceptual, *batch, count + i)

    return jax.lax.scan(one, learner, (order, jnp.arange(len(order))))

  def judge(critic, real, drawn):
    def loss(params):
      score = partial(critic_network.apply, params)
      return discriminator.loss(score, real, drawn)

    params, opt_state = critic
    return update(jax.grad(loss)(params), opt_state, params)

  def update(grads, opt_state, params):
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state

  def predict(params, standard, batch):
    return draw(params, standard, batch, train=False)

  def summed_loss(params, standard, perceptual, batch, truth):
    prediction = draw(params, standard, batch, train=False)
    return jnp.sum(losses(perceptual, prediction, truth))

  jit = partial(jax.jit, compiler_options=compiler.options())
  return Steps(
    start,
    jit(step, donate_argnums=0),
    jit(epoch, donate_argnums=0),
    jit(predict),
    jit(summed_loss),
  )
