"""A training function from a model, an optimiser and a loss."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import nnx

from informed_recon.audit.training import Train
from informed_recon.types import UserError


def recipe(
  model: Any,
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  loss: Callable | None = None,
  batch_size: int = 0,
) -> Train:
  """train(key, x, y) -> parameters, of the mean loss by any optax optimiser.

  Args:
    model: a linen module, a function `nnx.Rngs -> nnx.Module`, or a pair
      (init(key, x), apply(params, x)).
    optimizer: any optax transformation, schedules included.
    steps: T.
    loss: (outputs (B, ...), y (B, ...)) -> (B,); by default cross-entropy for
      whole labels, squared error for others.
    batch_size: records a step, from a new permutation each epoch; 0: all.

  Raises:
    UserError: a model of another kind.
  """
  if steps < 1 or batch_size < 0:
    raise UserError("recipe wants steps of at least 1 and batch_size >= 0")
  init, apply = _functions(model)

  def train(key, x, y):
    init_key, order_key = jax.random.split(key)
    params = init(init_key, x[:1])
    size = min(batch_size or len(x), len(x))
    per_epoch = len(x) // size

    def batch(t):
      if size == len(x):
        return x, y
      epoch = jax.random.fold_in(order_key, t // per_epoch)
      order = jax.random.permutation(epoch, len(x))
      start = (t % per_epoch) * size
      ids = jax.lax.dynamic_slice_in_dim(order, start, size)
      return x[ids], y[ids]

    def step(carry, t):
      params, state = carry
      some, labels = batch(t)

      def value(params):
        return jnp.mean((loss or _usual)(apply(params, some), labels))

      gradient = jax.grad(value)(params)
      updates, state = optimizer.update(gradient, state, params)
      return (optax.apply_updates(params, updates), state), None

    x, y = jnp.asarray(x), jnp.asarray(y)
    start = (params, optimizer.init(params))
    return jax.lax.scan(step, start, jnp.arange(steps))[0][0]

  return train


def _usual(outputs, y):
  if jnp.issubdtype(y.dtype, jnp.integer):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y)
  error = outputs.reshape(y.shape) - y
  return jnp.square(error).reshape(len(y), -1).sum(1)


def _functions(model: Any) -> tuple[Callable, Callable]:
  if isinstance(model, nn.Module):
    return model.init, model.apply
  if isinstance(model, tuple) and len(model) == 2:
    return model
  if not callable(model) or isinstance(model, nnx.Module):
    raise UserError(
      "model must be a linen module, a function of nnx.Rngs that makes an nnx "
      "module, or a pair (init, apply)"
    )
  graph = nnx.split(model(nnx.Rngs(0)))[0]

  def init(key, x):
    del x
    return nnx.split(model(nnx.Rngs(params=key)))[1]

  return init, lambda params, x: nnx.merge(graph, params)(x)
