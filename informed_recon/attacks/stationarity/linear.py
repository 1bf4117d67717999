"""A record's gradient as a function of the record, and its derivative J."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

COLUMNS = 64  # of JᵀJ at a time
ROWS = 64  # of what J is multiplied by, in a program


@functools.lru_cache(maxsize=32)
def products(loss, unknown):
  """Jitted functions of (params, z, label, …), z as `Unknown` holds it.

  Returns:
    ∇ℓ (P,); JᵀJ (d, d); Jᵀh of each h (m, P); J v of each v (m, d).
  """

  def gradient(params, z, label):
    return ravel_pytree(jax.grad(loss)(params, *unknown.split(z, label)))[0]

  @jax.jit
  def value(params, z, label):
    return gradient(params, z, label)

  @jax.jit
  def normal(params, z, label):
    """JᵀJ, a few columns at a time."""
    _, forward = jax.linearize(lambda z: gradient(params, z, label), z)
    backward = jax.linear_transpose(forward, z)
    column = lambda v: backward(forward(v))[0]  # noqa: E731
    return jax.lax.map(column, jnp.eye(len(z)), batch_size=COLUMNS)

  @jax.jit
  def project(params, z, label, disturbances):
    """Jᵀh of each h (m, P)."""
    _, forward = jax.linearize(lambda z: gradient(params, z, label), z)
    backward = jax.linear_transpose(forward, z)
    return jax.lax.map(lambda h: backward(h)[0], disturbances)

  @jax.jit
  def image(params, z, label, moves):
    """J v of each v (m, len(z))."""
    _, forward = jax.linearize(lambda z: gradient(params, z, label), z)
    return jax.lax.map(forward, moves)

  return value, normal, _in_blocks(project), _in_blocks(image)


def _in_blocks(product):
  """A product with any number of rows, which need not be compiled for each."""

  def blocks(params, z, label, rows):
    if len(rows) == 1:
      return product(params, z, label, rows)
    filled = np.zeros((-len(rows) % ROWS + len(rows), rows.shape[1]))
    filled[: len(rows)] = rows
    parts = [
      product(params, z, label, filled[start : start + ROWS])
      for start in range(0, len(filled), ROWS)
    ]
    return np.concatenate(parts)[: len(rows)]

  return blocks
