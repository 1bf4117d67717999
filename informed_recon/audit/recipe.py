"""A training function from a model, an optimiser and a loss."""

import numbers
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

  Dropout, and whatever else a module of Flax draws, is drawn anew each step.

  Args:
    model: a linen module, a function `nnx.Rngs -> nnx.Module`, or a pair
      (init(key, x), apply(params, x)).
    optimizer: any optax transformation, schedules included.
    steps: T.
    loss: (outputs (B, ...), y (B, ...)) -> (B,); by default cross-entropy for y
      of whole numbers, the classes, and squared error for y in floating point
      of the outputs' size, one-hot classes included.
    batch_size: records a step, from a new permutation each epoch; 0: all.

  Raises:
    UserError: arguments that make no recipe; from `train`, a model with a state
      beside its parameters, or labels that do not go with its outputs.
  """
  whole = all(isinstance(a, numbers.Integral) for a in (steps, batch_size))
  if not whole or steps < 1 or batch_size < 0:
    raise UserError(
      "recipe wants whole numbers, steps of at least 1 and batch_size of at "
      f"least 0, got {steps} and {batch_size}"
    )
  if not hasattr(optimizer, "update"):
    raise UserError(
      f"optimizer must be one of optax, such as optax.sgd(0.1), got {optimizer}"
    )
  init, apply = _functions(model)

  def train(key, x, y):
    x, y = jnp.asarray(x), jnp.asarray(y)
    init_key, order_key = jax.random.split(key)
    noise_key = jax.random.fold_in(key, 2)  # behind the two of the split
    params = init(init_key, x[:1])
    if loss is None:
      _check_labels(jax.eval_shape(apply, params, x, noise_key), y)
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
        outputs = apply(params, some, jax.random.fold_in(noise_key, t))
        return jnp.mean((loss or _usual)(outputs, labels))

      gradient = jax.grad(value)(params)
      updates, state = optimizer.update(gradient, state, params)
      return (optax.apply_updates(params, updates), state), None

    start = (params, optimizer.init(params))
    return jax.lax.scan(step, start, jnp.arange(steps))[0][0]

  return train


def _check_labels(outputs, y) -> None:
  """Refuses labels that `_usual` has no meaning for."""
  if not jnp.issubdtype(y.dtype, jnp.integer):
    if outputs.size != y.size:
      raise UserError(
        f"y is {y.dtype} of shape {y.shape}, the outputs are of shape "
        f"{outputs.shape}: cast y to int for classes, or pass loss="
      )
  elif y.shape != outputs.shape[:-1]:
    raise UserError(
      f"labels of shape {y.shape} do not go with outputs of shape "
      f"{outputs.shape}: give one class for each row of outputs, or make y "
      "float for squared error"
    )
  elif not isinstance(y, jax.core.Tracer):
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= outputs.shape[-1]:
      raise UserError(
        f"labels must be whole numbers in [0, {outputs.shape[-1]}), got "
        f"{low}..{high}; for squared error make y float"
      )


def _usual(outputs, y):
  if jnp.issubdtype(y.dtype, jnp.integer):
    return optax.softmax_cross_entropy_with_integer_labels(outputs, y)
  error = outputs.reshape(y.shape) - y
  return jnp.square(error).reshape(len(y), -1).sum(1)


def _functions(model: Any) -> tuple[Callable, Callable]:
  """init(key, x) -> params and apply(params, x, key), which draws from key."""
  if isinstance(model, nn.Module):
    return _of_linen(model)
  if isinstance(model, tuple) and len(model) == 2:
    return model[0], lambda params, x, key: model[1](params, x)
  if not callable(model) or isinstance(model, nnx.Module):
    raise UserError(
      "model must be a linen module, a function of nnx.Rngs that makes an nnx "
      "module, or a pair (init, apply)"
    )
  return _of_nnx(model)


def _of_linen(model: nn.Module) -> tuple[Callable, Callable]:
  def init(key, x):
    variables = model.init(key, x)
    _refuse_state(set(variables) - {"params"})
    return variables

  return init, lambda params, x, key: model.apply(params, x, rngs=key)


def _of_nnx(model: Callable) -> tuple[Callable, Callable]:
  graph, _, noise, rest = nnx.split(
    model(nnx.Rngs(0)), nnx.Param, nnx.RngState, ...
  )
  others = jax.tree.leaves(rest, is_leaf=lambda a: isinstance(a, nnx.Variable))
  _refuse_state({type(a).__name__ for a in others})
  drawn, structure = jax.tree.flatten(noise)

  def init(key, x):
    del x
    return nnx.split(model(nnx.Rngs(key)), nnx.Param, ...)[1]

  def apply(params, x, key):
    # Layers that draw have a key each, and a counter.
    fresh = [
      jax.random.fold_in(key, i)
      if jnp.issubdtype(a.dtype, jax.dtypes.prng_key)
      else a
      for i, a in enumerate(drawn)
    ]
    return nnx.merge(graph, params, jax.tree.unflatten(structure, fresh))(x)

  return init, apply


def _refuse_state(names: set[str]) -> None:
  if names:
    raise UserError(
      f"the model keeps {', '.join(sorted(names))} beside its parameters, as "
      "batch normalisation does, and recipe trains parameters alone: write "
      "train(key, x, y) yourself"
    )
