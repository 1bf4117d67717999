"""A patch discriminator: are images, patch by patch, drawn or real?

Isola, Zhu, Zhou, Efros (2017) for the network; Mao et al. (2017) for the
losses, least squares with 1 for real and 0 for drawn:

  discriminator  ½ E(D(z) - 1)² + ½ E D(ẑ)²,    drawing network  ½ E(D(ẑ) - 1)².
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

SLOPE = 0.2  # of the leaky ReLU
SMALLEST = 4  # pixels a side below which an image is not halved any more
GROUPS = 4


class Network(nn.Module):
  """Images (B, h, w, c) -> scores (B, h', w') of patches.

  Strided convolutions up to three halvings, from `channels` upwards.
  """

  channels: int = 32

  @nn.compact
  def __call__(self, x):
    x, channels = 2 * x - 1, self.channels
    for level in range(3):
      if level and min(x.shape[1:3]) <= SMALLEST:
        break
      x = nn.Conv(channels, (4, 4), 2)(x)
      x = nn.GroupNorm(GROUPS)(x) if level else x
      x = nn.leaky_relu(x, SLOPE)
      channels *= 2
    return nn.Conv(1, (3, 3))(x)[..., 0]


Scores = Callable[[jax.Array], jax.Array]


def loss(score: Scores, real: jax.Array, drawn: jax.Array) -> jax.Array:
  """What the discriminator minimises, (), given real and drawn images
  (B, h, w, c)."""
  right = jnp.mean(jnp.square(score(real) - 1))
  return 0.5 * (right + jnp.mean(jnp.square(score(drawn))))


def drawing_loss(score: Scores, drawn: jax.Array) -> jax.Array:
  """What the reconstructor minimises, (), given its images (B, h, w, c)."""
  return 0.5 * jnp.mean(jnp.square(score(drawn) - 1))
