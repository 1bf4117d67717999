"""Random keys by name: one root, a stream a purpose, an id a model.

A draw depends on (seed, stream name, global id, step) alone: never on the
chunk, the device or the process that happens to make it.
"""

import zlib

import jax


def root(seed: int) -> jax.Array:
  """Typed key. Threefry is pinned: with "rbg", vmap over keys is not a loop."""
  return jax.random.key(seed, impl="threefry2x32")


def stream(key: jax.Array, name: str) -> jax.Array:
  """Independent key for the purpose called `name`."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))
