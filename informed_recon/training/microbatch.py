"""A gradient over many records, a few of them at a time.

A convolutional network makes megabytes out of every record. Where they leave
the processor's cache between one operation and the next, memory sets the pace;
so the sum over the records goes through pieces that stay in it. Networks that
make little of a record take all at once, for their products are the better the
larger they are, and cutting copies what they are made from.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

# Of all that a forward pass writes; only a part of it is there at a time.
CPU_PIECE_BYTES = 24 << 20
LARGE_RECORD_BYTES = 128 << 10  # likewise, of one record


def gradient(
  loss: Callable[..., jax.Array], params: Any, *records: jax.Array
) -> Any:
  """∇ of `loss(params, *records)`, a sum over records, as of `params`.

  `records` are arrays (n, …); the last holds their weights (n,), by which the
  loss multiplies what each adds to it. On a CPU a network that writes
  `LARGE_RECORD_BYTES` or more for one record takes them in equal pieces, the
  last one filled up without weight; elsewhere, and where they fit, all at once.
  """
  n = len(records[-1])
  size = _size(loss, params, records)
  if size == n:
    return jax.grad(loss)(params, *records)

  def divide(a: jax.Array) -> jax.Array:
    empty = jnp.zeros((-n % size, *a.shape[1:]), a.dtype)
    return jnp.concatenate([a, empty]).reshape(-1, size, *a.shape[1:])

  def add(total, piece):
    part = jax.grad(loss)(params, *piece)
    return jax.tree.map(jnp.add, total, part), None

  zeros = jax.tree.map(jnp.zeros_like, params)
  return jax.lax.scan(add, zeros, tuple(map(divide, records)))[0]


def _size(loss, params, records) -> int:
  """Records in a piece: of the sizes that fill from half of the cache to all of
  it, the largest of those with the fewest to fill up."""
  n = len(records[-1])
  if jax.default_backend() != "cpu":
    return n
  one = (jax.ShapeDtypeStruct((1, *a.shape[1:]), a.dtype) for a in records)
  like = jax.eval_shape(lambda tree: tree, params)
  written = _written(jax.make_jaxpr(loss)(like, *one).jaxpr)
  fits = max(int(CPU_PIECE_BYTES / max(written, 1)), 1)
  if written < LARGE_RECORD_BYTES or fits >= n:
    return n
  return min(range(fits, fits // 2, -1), key=lambda size: -n % size)


def _written(jaxpr) -> float:
  """Bytes of all results of a program's operations."""
  total = 0
  for eqn in jaxpr.eqns:
    nested = list(core.jaxprs_in_params(eqn.params))
    if nested:
      total += sum(map(_written, nested))
    else:
      sizes = (np.prod(out.aval.shape) for out in eqn.outvars)
      total += 4 * sum(sizes)
  return total
