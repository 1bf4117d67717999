"""A network evaluated with the records on the last axis.

Training many models at once multiplies the first kernels of all of them, (k H,
d), with one shared matrix of records (d, n). What comes out of that product is
laid out (k, H, n). Written with the records first, as everybody writes a
network, (k, n, H), every activation would be turned around before and after it,
element-wise work would run along axes as short as H, and the products of
further layers would be narrow: on two cores as dear as the products.

`read`, the one way in, gives the rest of a network, behind its first product,
in that layout. It goes through the jaxpr of the network for a single record:
what treats every number by itself needs no change, a product with a parameter
changes its order, everything else is left alone. A network that does anything
more (convolutions, attention), or whose first layer is not one dense layer on
the raw record, gives None and trains as it is written; so does one whose jaxpr
another version of jax writes in operations that are not known here, and a test
lists which of the shipped models must be read.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from informed_recon.models import Model

# Same numbers in the same order, in another shape.
_RESHAPES = ("reshape", "squeeze")
_NESTED = ("jit", "pjit")
# Of two operands, an axis of length 1 standing for all of the other's.
_BROADCASTING = ("add", "sub", "mul", "div", "max", "min", "pow")
_BROADCASTING += ("eq", "ne", "lt", "le", "gt", "ge")
_REDUCTIONS = ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod")


class Network(NamedTuple):
  """A network whose first layer multiplies the raw record by one kernel."""

  kernel: int  # position among the leaves of the parameters; (d, H)
  # (leaves, products (H, B)) -> logits (K, B); does not look at that leaf
  rest: Callable[[list[Any], jax.Array], jax.Array]


class _Unreadable(Exception):
  pass


class _Raw(NamedTuple):
  """Stands for the record."""


class _Leaf(NamedTuple):
  """A whole parameter array."""

  index: int
  value: jax.Array


class _Last(NamedTuple):
  """A value of each record, the records on the last axis."""

  value: jax.Array


def read(model: Model) -> Network | None:
  """The network behind its first product, or None where it cannot be read."""
  params = jax.eval_shape(model.init, jax.random.key(0))
  record = jax.ShapeDtypeStruct((1, *model.shape), jnp.float32)
  closed = jax.make_jaxpr(model.apply)(params, record)
  used = []

  def run(leaves, product):
    """The logits (K, B) where `product(index)` is the first product (H, B)."""
    inputs = [_Leaf(i, leaf) for i, leaf in enumerate(leaves)]
    walk = _Walk(product)
    (logits,) = walk(closed.jaxpr, closed.consts, [*inputs, _Raw()])
    used[:] = walk.used
    if not isinstance(logits, _Last):
      raise _Unreadable
    return logits.value[0]

  leaves, found = jax.tree.leaves(params), []

  def example(index):
    found.append(index)
    return jnp.zeros((leaves[index].shape[1], 2))

  try:
    jax.eval_shape(lambda leaves: run(leaves, example), leaves)
  except _Unreadable:
    return None
  if len(found) != 1 or used.count(found[0]) != 1:
    return None
  return Network(found[0], lambda leaves, z: run(leaves, lambda _: z))


class _Walk:
  """Evaluates a jaxpr; `used` lists the parameter arrays it touches."""

  def __init__(self, product: Callable[[int], jax.Array]):
    self.product = product
    self.used = []

  def __call__(self, jaxpr, consts, inputs) -> list:
    values = dict(zip(jaxpr.constvars, consts))
    values.update(zip(jaxpr.invars, inputs))

    def value(v):
      return v.val if isinstance(v, core.Literal) else values[v]

    for eqn in jaxpr.eqns:
      values.update(zip(eqn.outvars, self._step(eqn, map(value, eqn.invars))))
    return [value(v) for v in jaxpr.outvars]

  def _step(self, eqn, inputs) -> list:
    inputs = list(inputs)
    if eqn.primitive.name in _NESTED:
      inner = eqn.params["jaxpr"]
      return self(inner.jaxpr, inner.consts, inputs)
    self.used += [v.index for v in inputs if isinstance(v, _Leaf)]
    if any(isinstance(v, _Raw) for v in inputs):
      return [self._of_record(eqn, inputs)]
    inputs = [v.value if isinstance(v, _Leaf) else v for v in inputs]
    if any(isinstance(v, _Last) for v in inputs):
      return [_Last(_records_last(eqn, inputs))]
    out = _bind(eqn)(*inputs)
    return list(out) if eqn.primitive.multiple_results else [out]

  def _of_record(self, eqn, inputs):
    if eqn.primitive.name in _RESHAPES and _plain(eqn):
      return inputs[0]
    if eqn.primitive.name != "dot_general" or _contracted(eqn) != (1, 0):
      raise _Unreadable
    record, kernel = inputs
    # A kernel of all features and one row of them: nothing is left out.
    whole = eqn.invars[0].aval.shape[0] == 1 and len(eqn.invars[1].aval.shape)
    if not (isinstance(record, _Raw) and isinstance(kernel, _Leaf)) or (
      whole != 2
    ):
      raise _Unreadable
    z = self.product(kernel.index)
    return _Last(z[None])  # the record's own axis of length 1 stays in front


def _records_last(eqn, inputs) -> jax.Array:
  """One operation on values (..., B)."""
  name, shape = eqn.primitive.name, eqn.outvars[0].aval.shape
  first = inputs[0]
  size = next(v.value.shape[-1] for v in inputs if isinstance(v, _Last))
  if len(eqn.outvars) != 1:
    raise _Unreadable
  if name in _RESHAPES and _plain(eqn):
    return first.value.reshape(*shape, size)
  if name == "broadcast_in_dim" and isinstance(first, _Last):
    kept = *eqn.params["broadcast_dimensions"], len(shape)
    return jax.lax.broadcast_in_dim(first.value, (*shape, size), kept)
  if name == "dot_general":
    return _product(eqn, inputs)
  shapes = {v.aval.shape for v in eqn.invars} - {()}
  if name in _REDUCTIONS:
    operands = [first.value]
  elif shapes == {shape} or name in _BROADCASTING:
    operands = [_spread(v, shape, size) for v in inputs]
  else:
    raise _Unreadable
  axes = [-1 if jnp.ndim(v) else None for v in operands]
  out = jax.vmap(_bind(eqn), axes, -1)(*operands)
  return out[0] if eqn.primitive.multiple_results else out


def _product(eqn, inputs) -> jax.Array:
  """A vector of each record (1..., c, B) and a parameter (c, b...)."""
  records, kernel = inputs
  contracted = _contracted(eqn)
  if isinstance(kernel, _Last) or contracted is None:
    raise _Unreadable
  mine, its = contracted
  c, size = records.value.shape[mine], records.value.shape[-1]
  if records.value.size != c * size:  # several vectors of one record
    raise _Unreadable
  out = jax.lax.dot_general(
    kernel,
    records.value.reshape(c, size),
    (((its,), (0,)), ((), ())),
    precision=eqn.params["precision"],
    preferred_element_type=eqn.params["preferred_element_type"],
  )
  return out.reshape(*eqn.outvars[0].aval.shape, size)


def _contracted(eqn) -> tuple[int, int] | None:
  """The one axis of each side that a product sums over, without others."""
  (mine, its), batch = eqn.params["dimension_numbers"]
  single = len(mine) == 1 and not any(batch)
  return (mine[0], its[0]) if single else None


def _plain(eqn) -> bool:
  return eqn.params.get("dimensions") is None or eqn.primitive.name != "reshape"


def _spread(v, shape: tuple[int, ...], size: int):
  """Scalars stay, all else gets this shape and the records behind it."""
  if not isinstance(v, _Last) and not jnp.ndim(v):
    return v
  v = v.value if isinstance(v, _Last) else v[..., None]
  return jnp.broadcast_to(v, (*shape, size))


def _bind(eqn) -> Callable:
  """The operation itself, with its own rules of differentiation."""
  params = eqn.primitive.get_bind_params(eqn.params)
  return lambda *values: eqn.primitive.bind(*values, **params)
