"""Fully connected network; the defaults are the notebook's 784-10-10 ELU."""

import flax.linen as nn

from informed_recon.models import activation

TINY = dict(width=4)


class Network(nn.Module):
  """Flatten, `depth` hidden layers of `width`, logits."""

  num_classes: int
  width: int = 10
  depth: int = 1
  activation: str = "elu"

  @nn.compact
  def __call__(self, x):
    x = x.reshape(x.shape[0], -1)
    for _ in range(self.depth):
      x = activation(self.activation)(nn.Dense(self.width)(x))
    return nn.Dense(self.num_classes)(x)
