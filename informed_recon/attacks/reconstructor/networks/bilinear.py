"""A reconstructor that knows how a record enters the first layer.

In a fully connected first layer every gradient with respect to the kernel is
an outer product of the record with the back-propagated error a, so the
target's direct effect on the kernel W (d, H) is a sum of terms z aᵀ. If a were
known, z could be read off by contracting W with it. Here a network reads a
from all parameters, and the answer is a bilinear form of the two:

  z_p = sigmoid( Σ_h s_{ph} W̃_{ph} c_h(θ̃) + m_p(θ̃) ),

with θ̃ the standardised parameters, W̃ their first-kernel part, c (H) and m (d)
two heads of one fully connected network, and s learned scales. A fully
connected network would have to spend its width on learning these products
(docs/results.md compares the two). Derived for this project.
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from informed_recon import tree
from informed_recon.attacks.reconstructor.networks import first_kernel
from informed_recon.models import activation

TINY = dict(width=16)
SCALE_INIT = 0.1  # of s: the bilinear path starts small beside the sigmoid


class Network(nn.Module):
  """`depth` hidden layers of `width` with dropout, and the bilinear path."""

  layout: tuple[tree.Leaf, ...]
  record_shape: tuple[int, ...]
  width: int = 1000
  depth: int = 2
  activation: str = "gelu"
  dropout: float = 0.2

  @nn.compact
  def __call__(self, params, train: bool):
    pixels = math.prod(self.record_shape)
    kernel = first_kernel(self.layout, pixels)
    hidden = kernel.shape[1]
    x = params
    for _ in range(self.depth):
      x = activation(self.activation)(nn.Dense(self.width)(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    errors = nn.Dense(hidden, name="errors")(x)
    scale = self.param(
      "scale", nn.initializers.constant(SCALE_INIT), (pixels, hidden)
    )
    weights = params[:, kernel.start : kernel.start + kernel.size]
    weights = weights.reshape(-1, pixels, hidden)
    logits = jnp.einsum("bph,ph,bh->bp", weights, scale, errors)
    logits = logits + nn.Dense(pixels, name="free")(x)
    return nn.sigmoid(logits).reshape(-1, *self.record_shape)
