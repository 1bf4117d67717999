"""Sums of clipped per-record gradients that hold no per-record gradient.

The gradient of record i with respect to a layer's kernel is Σ_t a_it δ_itᵀ:
over the layer's positions t, its input times the cotangent of its output. The
norm follows from both without forming the gradient, |a_i|² |δ_i|² for a single
position (Goodfellow 2015, arXiv 1510.01799), and through the Gram matrices of
inputs and cotangents for several (Li et al. 2022, arXiv 2110.05679), which for
small kernels cost more than the layer's own gradients: per layer the smaller
of the two (Bu, Mao and Xu 2022, arXiv 2205.10683). One forward pass and one
backward pass to the cotangents; scaled record by record, these and the inputs
give each layer's sum by themselves (Bu et al. 2023, arXiv 2210.00038).

No model file knows of this: inputs and cotangents are read off the linen
modules that own parameters, whatever the network that calls them.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from informed_recon import prng
from informed_recon.models import Model
from informed_recon.training.recipe import cross_entropy
from informed_recon.types import UserError

Apply = Callable[[Any, jax.Array], jax.Array]


class _Layer(NamedTuple):
  """A module that owns parameters, and what passed through it."""

  path: tuple[str, ...]
  module: nn.Module  # unbound
  params: dict  # the arrays it owns itself
  calls: list[int]  # more than one where the network uses it again


def clipped_sum(
  apply: Apply,
  params: Any,
  x: jax.Array,
  y: jax.Array,
  weights: jax.Array | float,
  clip_norm: jax.Array | float,
) -> Any:
  """Σ_i w_i min(1, C / ‖g_i‖) g_i, with g_i the gradient of one record's loss.

  Args:
    apply: params, (n, *shape) -> logits (n, K), each record by itself.
    params: pytree of the linen modules that `apply` calls.
    x: (n, *shape).
    y: (n,) int32 classes.
    weights: (n,) or one for all; 0 leaves a record out.
    clip_norm: C > 0; inf clips nothing.

  Returns:
    A pytree like `params`. But for rounding, about 1e-6 C in float32, a record
    of weight 1 moves it by no more than C. A record whose gradient overflows
    moves it by nothing: NaN would tell that it is there, drawn or not.

  Raises:
    UserError: parameters whose gradients cannot be had from module calls.
  """
  layers, outputs = _layers(apply, params, x)

  def losses(params, taps):
    logits, inputs, _ = _tapped(apply, params, x, taps)
    return cross_entropy(logits, y), inputs

  taps = [jnp.zeros(o.shape, o.dtype) for o in outputs]
  value, pull, inputs = jax.vjp(losses, params, taps, has_aux=True)
  _, deltas = pull(jnp.ones_like(value))
  # Before any product: where XLA packs records into one, 0 times NaN is NaN.
  sound = functools.reduce(jnp.logical_and, map(_all_finite, inputs + deltas))
  rows = [
    [_kept(sound, [side[i] for i in layer.calls]) for side in (inputs, deltas)]
    for layer in layers
  ]
  squares = sum(
    _squared_norms(layer.module, layer.params, *row)
    for layer, row in zip(layers, rows)
  )
  sound &= jnp.isfinite(squares)
  # Through Gram matrices round-off can leave less than nothing.
  norms = jnp.sqrt(jnp.maximum(squares, 0.0))
  factors = jnp.where(sound, weights * jnp.minimum(1.0, clip_norm / norms), 0)
  sums = {
    layer.path: _weighted_sum(
      layer,
      _kept(sound, ins),
      _kept(sound, [d * _along(factors, d) for d in outs]),
    )
    for layer, (ins, outs) in zip(layers, rows)
  }
  flat = {
    (*path, name): leaf
    for path, leaves in sums.items()
    for name, leaf in leaves.items()
  }
  return jax.tree.map(
    lambda _, leaf: leaf, params, traverse_util.unflatten_dict(flat)
  )


def check(model: Model) -> None:
  """Compares `clipped_sum` with the gradients of two random records.

  What it could get wrong in silence (parameters used outside of their module's
  call, records that see each other) shows here.

  Raises:
    UserError: the records' gradients cannot be clipped.
  """
  keys = jax.random.split(prng.root(0), 3)
  params = model.init(keys[0])
  noise = optax.tree.random_like(keys[1], params, jax.random.normal)
  # Away from initial zeros, behind which terms of a gradient hide.
  params = jax.tree.map(lambda p, e: p + 0.1 * e, params, noise)
  x = jax.random.normal(keys[2], (2, *model.shape))
  y, weights, clip_norm = jnp.zeros(2, jnp.int32), jnp.array([1.0, 2.0]), 1e-3

  def clipped(x, y):
    def loss(params):
      return cross_entropy(model.apply(params, x[None]), y[None])[0]

    gradient = jax.grad(loss)(params)
    scale = jnp.minimum(1.0, clip_norm / optax.tree.norm(gradient))
    return optax.tree.scale(scale, gradient)

  @jax.jit
  def deviation():
    ours = clipped_sum(model.apply, params, x, y, weights, clip_norm)
    each = jax.vmap(clipped)(x, y)
    total = jax.tree.map(lambda g: jnp.tensordot(weights, g, 1), each)
    return optax.tree.norm(optax.tree.sub(ours, total))

  try:
    off = deviation()
  except UserError:
    raise
  except Exception as error:  # whatever a module makes of being taken apart
    reason = str(error).strip().splitlines()[0][:120]
    raise UserError(
      "private training cannot clip this model's records one by one: one of "
      "its modules cannot be taken apart (such as recurrent cells, remat, "
      f"WeightNorm and masked convolutions): {type(error).__name__}: {reason}"
    ) from error
  if not off < 0.01 * clip_norm:  # far above rounding
    raise UserError(
      "this model's records cannot be clipped one by one: they are coupled "
      "within a batch, or parameters are used outside of their module's call"
    )


def _layers(apply, params, x) -> tuple[list[_Layer], list]:
  """All modules with parameters, and the outputs' shapes of all their calls."""
  owned = _owned(params)
  for path in owned:
    if any(path[:i] in owned for i in range(len(path))):
      raise UserError(
        f"module {_name(path)} lies in one that has parameters of its own, "
        "which private training cannot clip; move those into a module"
      )
  modules = []
  _, _, outputs = jax.eval_shape(
    lambda p: _tapped(apply, p, x, modules=modules), params
  )
  layers = {}
  for i, (path, module) in enumerate(modules):
    layer = _Layer(path, module, owned[path], [])
    layers.setdefault(path, layer).calls.append(i)
  if missed := owned.keys() - layers:
    raise UserError(
      f"module {_name(min(missed))} is used in another way than by calling it, "
      "so that private training cannot clip its gradient"
    )
  return list(layers.values()), outputs


def _tapped(apply, params, x, taps=None, modules=None):
  """Logits, and inputs and outputs of the calls of modules with parameters.

  Args:
    apply, params, x: as in `clipped_sum`.
    taps: zeros, one array a call, to be added to its output.
    modules: list to which to append path and module of every call.
  """
  owned = _owned(params)
  inputs, outputs = [], []

  def tap(following, args, kwargs, context):
    output, module = following(*args, **kwargs), context.module
    if context.method_name != "__call__" or module.path not in owned:
      return output
    arrays = [*args, *kwargs.values(), output]
    if len(arrays) != 2 or any(jnp.shape(a)[:1] != (len(x),) for a in arrays):
      raise UserError(
        f"module {_name(module.path)} does not map one array to one array with "
        "the records on the first axis; private training cannot clip its "
        "gradient"
      )
    if modules is not None:
      modules.append((module.path, module.clone(parent=None)))
    if taps is not None:
      output = output + taps[len(outputs)]
    inputs.append(arrays[0])
    outputs.append(output)
    return output

  with nn.intercept_methods(tap):
    return apply(params, x), inputs, outputs


def _owned(params) -> dict[tuple[str, ...], dict]:
  """Path of a module -> the arrays it owns itself."""
  owned = {}
  for path, leaf in traverse_util.flatten_dict(params).items():
    owned.setdefault(path[:-1], {})[path[-1]] = leaf
  return owned


def _squared_norms(module, params, inputs, deltas) -> jax.Array:
  """(n,) squared norms of the records' gradients for one module.

  A module called again has one gradient, the sum over its calls, and for an
  affine one further calls are further positions.

  Args:
    module, params: an unbound linen module and its parameters.
    inputs, deltas: one array (n, ...) a call.
  """
  if type(module) is nn.Conv and module.feature_group_count == 1:
    inputs = [_patches(module, params["kernel"], a) for a in inputs]
  elif type(module) is not nn.Dense:
    return jax.vmap(lambda a, d: _materialised(module, params, a, d))(
      inputs, deltas
    )
  a, d = (  # (n, T, inputs) and (n, T, outputs)
    jnp.concatenate([r.reshape(len(r), -1, r.shape[-1]) for r in rows], axis=1)
    for rows in (inputs, deltas)
  )
  positions = a.shape[1]
  if positions == 1:
    squares = _sum_squares(a) * _sum_squares(d)
  elif positions**2 < params["kernel"].size:
    gram_a, gram_d = (jnp.einsum("nti,nsi->nts", r, r) for r in (a, d))
    squares = jnp.sum(gram_a * gram_d, axis=(1, 2))
  else:
    squares = _sum_squares(jnp.einsum("nti,nto->nio", a, d))
  if module.use_bias:
    squares += _sum_squares(jnp.sum(d, axis=1))
  return squares


def _patches(conv: nn.Conv, kernel, inputs) -> jax.Array:
  """What each output position sees: the same convolution with a unit kernel,
  so that padding, stride and dilation have no second implementation."""
  seen = math.prod(kernel.shape[:-1])
  unit = jnp.eye(seen, dtype=kernel.dtype).reshape(*kernel.shape[:-1], seen)
  unfold = conv.clone(features=seen, use_bias=False)
  return unfold.apply({"params": {"kernel": unit}}, inputs)


def _weighted_sum(layer: _Layer, inputs, deltas) -> dict:
  """Sum over records and calls of a layer's gradients, from its cotangents."""

  def outputs(params):
    return [layer.module.apply({"params": params}, a) for a in inputs]

  return jax.vjp(outputs, layer.params)[1](deltas)[0]


def _materialised(module, params, inputs, deltas) -> jax.Array:
  """One record's squared norm for any module (norm scales, embeddings ...)."""
  layer = _Layer((), module, params, [])
  rows = ([r[None] for r in side] for side in (inputs, deltas))
  return optax.tree.norm(_weighted_sum(layer, *rows), squared=True)


def _name(path: tuple[str, ...]) -> str:
  return "/".join(path) or "Network"


def _sum_squares(a: jax.Array) -> jax.Array:
  """(n,) from (n, ...)."""
  return jnp.sum(a**2, axis=tuple(range(1, a.ndim)))


def _all_finite(rows: jax.Array) -> jax.Array:
  """(n,) from (n, ...)."""
  return jnp.all(jnp.isfinite(rows), axis=tuple(range(1, rows.ndim)))


def _kept(sound: jax.Array, rows) -> list[jax.Array]:
  """Arrays (n, ...) with 0 in place of the records that are not sound."""
  return [jnp.where(_along(sound, r), r, 0) for r in rows]


def _along(per_record, rows: jax.Array):
  """(n,), to be broadcast against (n, ...)."""
  return jnp.reshape(per_record, (-1, *[1] * (rows.ndim - 1)))
