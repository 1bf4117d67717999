"""Transformer on patches, or a mixer: what stands between the tokens decides.

Dosovitskiy et al. (2021), with the mean of the tokens in place of a class
token; `mixing="mlp"` is the mixer of Tolstikhin et al. (2021). Layer norm acts
on one token of one record, so that records stay apart.
"""

import flax.linen as nn

from informed_recon.models import activation
from informed_recon.types import UserError

TINY = dict(width=4, blocks=1, patch=2, heads=2)


class Position(nn.Module):
  """Adds a learned vector to each token: (B, tokens, width)."""

  @nn.compact
  def __call__(self, x):
    start = nn.initializers.normal(0.02)
    return x + self.param("position", start, x.shape[1:], x.dtype)


class Network(nn.Module):
  """Images (B, h, w, c) to logits (B, num_classes).

  An image is cut into squares of `patch` pixels, which must divide its height
  and width. Each square becomes a token of `width` features; `blocks` blocks
  mix the tokens, and the logits are read from their mean.
  """

  num_classes: int
  width: int = 16
  blocks: int = 2
  patch: int = 7
  heads: int = 2
  mixing: str = "attention"  # or "mlp"
  activation: str = "gelu"

  @nn.compact
  def __call__(self, x):
    p = self.patch
    if x.ndim != 4 or p < 1 or any(side % p for side in x.shape[1:3]):
      raise UserError(
        "patches wants images (h, w, c) whose height and width are multiples "
        f"of model.options.patch = {p}, got records of shape {x.shape[1:]}"
      )
    if self.mixing not in ("attention", "mlp"):
      raise UserError(f"unknown mixing {self.mixing!r}; known: attention, mlp")
    act = activation(self.activation)
    b, h, w, c = x.shape
    rows, columns = h // p, w // p
    x = x.reshape(b, rows, p, columns, p, c).swapaxes(2, 3)
    x = nn.Dense(self.width)(x.reshape(b, rows * columns, p * p * c))
    x = Position()(x)
    for _ in range(self.blocks):
      y = nn.LayerNorm()(x)
      if self.mixing == "attention":
        x = x + nn.MultiHeadDotProductAttention(self.heads)(y)
      else:
        y = act(nn.Dense(2 * self.width)(y.swapaxes(1, 2)))
        x = x + nn.Dense(rows * columns)(y).swapaxes(1, 2)
      y = act(nn.Dense(2 * self.width)(nn.LayerNorm()(x)))
      x = x + nn.Dense(self.width)(y)
    return nn.Dense(self.num_classes)(nn.LayerNorm()(x).mean(1))
