"""Multinomial logistic regression: one affine map from pixels to logits."""

import flax.linen as nn

TINY = {}


class Network(nn.Module):
  """Flatten, logits; `use_bias=False` for a model without intercept."""

  num_classes: int
  use_bias: bool = True

  @nn.compact
  def __call__(self, x):
    x = x.reshape(x.shape[0], -1)
    return nn.Dense(self.num_classes, use_bias=self.use_bias)(x)
