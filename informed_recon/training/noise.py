"""Gaussian noise whose tails go as far as a privacy statement needs them.

`jax.random.normal` in float32 takes one of 2^23 values between -5.42 and 5.23:
a released coordinate outside that range would prove who was there.
"""

import math

import jax
import jax.numpy as jnp

# Up to here every value that float32 has near a draw can be drawn; the mass
# beyond, 2e-29 on either side, is put on a few values up to 11.3.
REACH = 11.2


def gaussian(key: jax.Array, shape=(), dtype=jnp.float32) -> jax.Array:
  """Standard normal draws by the inverse distribution function of 96 bits.

  One bit is the sign; the other 95 are u in (0, 1/2), the mass of the tail
  beyond the draw. Float32 keeps 24 significant bits of u however small it is,
  so neighbouring values lie as close in the tails as float32 has them, and
  8e-8 apart near 0. Draws reach 11.3 on either side; beyond `REACH` the law is
  a few single values instead of a tail.

  Not covered: rounding. A released sum of gradient and noise is a float32
  whose low-order bits depend on the gradient's (Mironov, 2012, "On significance
  of the least significant bits for differential privacy"), and the bits come
  from threefry, a pseudo-random generator with 64 bits of key.
  """
  if dtype != jnp.float32:
    return gaussian(key, shape).astype(dtype)
  # Flat, and a key each: XLA fuses these under vmap, where one longer array of
  # bits costs six times more, and words in the shape of a kernel twice.
  count = math.prod(shape)
  first, *rest = (
    jax.random.bits(k, (count,), jnp.uint32) for k in jax.random.split(key, 3)
  )
  unit = 2.0**-32
  u = 0.5
  for word in reversed(rest):
    u = (word.astype(dtype) + u) * unit
  u = ((first >> 1).astype(dtype) + u) * unit
  x = jax.scipy.special.ndtri(u)
  return jnp.where(first & 1, x, -x).reshape(shape)
