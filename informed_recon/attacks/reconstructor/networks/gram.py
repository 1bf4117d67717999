"""A reconstructor of few parameters that reads the first layer again and again.

What a record z leaves in the first kernel W (d, H) is about z aᵀ, with a (H)
the error propagated back to that layer (`bilinear`). So WᵀW is about |z|² a aᵀ:
the Gram matrix of the columns shows a but for its sign, the bias shows the
sign, and W contracted with a is the record. A trunk reads small features of the
standardised parameters θ̃, divided by their own size r,

  f = [W̃ᵀU, W̃ᵀW̃ / d, all other parameters, log r],     U (d, rank) learned,

and gives errors c (H) and an image m (d):

  logits_p = Σ_h s_ph W̃_ph c_h(f) + m_p(f),     s learned scales.

Each further pass looks at that drawing and at how the kernel answers to it,
Σ_p s_ph W̃_ph sigmoid(logits_p), and adds another such sum to the logits. No
layer sees all of θ̃ at once: a fifth of the parameters of `bilinear`. Derived
for this project.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from informed_recon import tree
from informed_recon.attacks.reconstructor.networks import first_kernel
from informed_recon.models import activation

TINY = dict(width=16, rank=3, passes=2, look=8)
SCALE_INIT = 0.1  # of s: the kernel starts small beside the sigmoid
SMALL = 1e-12  # of the mean square: all parameters may be as in the mean model


class Network(nn.Module):
  """`depth` hidden layers of `width` with dropout, then `passes` readings."""

  layout: tuple[tree.Leaf, ...]
  record_shape: tuple[int, ...]
  width: int = 512
  depth: int = 2
  rank: int = 32
  passes: int = 3
  look: int = 256  # width of a further pass
  activation: str = "gelu"
  dropout: float = 0.2

  @nn.compact
  def __call__(self, params, train: bool):
    pixels, act = math.prod(self.record_shape), activation(self.activation)
    leaf = first_kernel(self.layout, pixels)
    units, end = leaf.shape[1], leaf.start + leaf.size
    size = jnp.sqrt(jnp.mean(params**2, 1, keepdims=True) + SMALL)
    params = params / size
    # Pixels last: products with few units are fast along long rows.
    kernel = params[:, leaf.start : end].reshape(-1, pixels, units)
    kernel = kernel.swapaxes(1, 2)
    basis = self.param(
      "basis", nn.initializers.lecun_normal(), (pixels, self.rank)
    )
    scale = self.param(
      "scale", nn.initializers.constant(SCALE_INIT), (units, pixels)
    )
    gram = jnp.einsum("bhp,bkp->bhk", kernel, kernel) / pixels
    parts = jnp.einsum("bhp,pr->bhr", kernel, basis), gram
    x = jnp.concatenate(
      [
        *(part.reshape(len(params), -1) for part in parts),
        params[:, : leaf.start],
        params[:, end:],
        jnp.log(size),
      ],
      1,
    )
    for _ in range(self.depth):
      x = act(nn.Dense(self.width)(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    trunk, kernel, logits = x, kernel * scale, jnp.zeros((len(params), pixels))
    for i in range(self.passes):
      if i:
        x = self._look(trunk, kernel, nn.sigmoid(logits), act)
      init = nn.initializers.zeros if i else nn.linear.default_kernel_init
      errors = nn.Dense(units, kernel_init=init, name=f"errors_{i}")(x)
      free = nn.Dense(pixels, kernel_init=init, name=f"free_{i}")(x)
      logits = logits + jnp.einsum("bhp,bh->bp", kernel, errors) + free
    return nn.sigmoid(logits).reshape(-1, *self.record_shape)

  def _look(self, trunk, kernel, drawing, act):
    """Features of the drawing so far, and of how the kernel answers to it."""
    parts = (
      jnp.einsum("bhp,bp->bh", kernel, drawing),
      nn.Dense(self.look // 4)(drawing),
      nn.Dense(self.look)(trunk),
    )
    x = act(nn.Dense(self.look)(jnp.concatenate(parts, 1)))
    return act(nn.Dense(self.look)(x))
