"""Parameter pytrees as rows of a matrix (N, P), and back."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Leaf(NamedTuple):
  """Where one parameter array lies in the flat vector."""

  name: str  # such as "Dense_0/kernel"
  shape: tuple[int, ...]
  start: int

  @property
  def size(self) -> int:
    return math.prod(self.shape)


def layout(params: Any) -> tuple[Leaf, ...]:
  """Leaves in the order of `flatten`; accepts abstract arrays."""
  leaves, start = [], 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    leaves.append(Leaf(name, tuple(leaf.shape), start))
    start += leaves[-1].size
  return tuple(leaves)


def flatten(params: Any) -> jax.Array:
  """One model's parameters as a vector (P,) float32."""
  return jnp.concatenate(
    [jnp.ravel(x).astype(jnp.float32) for x in jax.tree.leaves(params)]
  )


def unflatten(vector: jax.Array, like: Any) -> Any:
  """Inverse of `flatten`, with the structure and dtypes of `like`."""
  leaves = [
    jnp.reshape(vector[a.start : a.start + a.size], a.shape)
    for a in layout(like)
  ]
  dtyped = [x.astype(t.dtype) for x, t in zip(leaves, jax.tree.leaves(like))]
  return jax.tree.unflatten(jax.tree.structure(like), dtyped)
