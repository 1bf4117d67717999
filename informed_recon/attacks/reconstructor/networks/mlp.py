"""The public notebook's reconstructor: a fully connected network.

Balle, Cherubin, Hayes (2022): 1000-1000-d, ReLU, sigmoid output.
"""

import math

import flax.linen as nn

from informed_recon import tree
from informed_recon.models import activation

TINY = dict(width=16)


class Network(nn.Module):
  """`depth` hidden layers of `width` with dropout, then one unit a pixel."""

  layout: tuple[tree.Leaf, ...]
  record_shape: tuple[int, ...]
  width: int = 1000
  depth: int = 2
  activation: str = "relu"
  dropout: float = 0.0

  @nn.compact
  def __call__(self, params, train: bool):
    x = params
    for _ in range(self.depth):
      x = activation(self.activation)(nn.Dense(self.width)(x))
      x = nn.Dropout(self.dropout, deterministic=not train)(x)
    x = nn.sigmoid(nn.Dense(math.prod(self.record_shape))(x))
    return x.reshape(-1, *self.record_shape)
