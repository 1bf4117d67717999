"""Convolutional network of some 90,000 parameters on 32x32 colour images."""

import flax.linen as nn

from informed_recon.models import activation
from informed_recon.models.layers.convolution import patch_product
from informed_recon.types import UserError

TINY = dict(widths=(2, 3))

POOLING = {
  "mean": lambda x: nn.avg_pool(x, (2, 2), (2, 2)),
  "max": lambda x: nn.max_pool(x, (2, 2), (2, 2)),
}


class Network(nn.Module):
  """Blocks of convolution, activation and halving; logits of what is left.

  `widths` are the channels of the blocks. `pooling` halves the image by the
  mean or the maximum of 2x2 pixels, or "stride" by strided convolutions.
  """

  num_classes: int
  widths: tuple[int, ...] = (32, 64, 96)
  kernel: int = 3
  pooling: str = "mean"
  activation: str = "elu"

  @nn.compact
  def __call__(self, x):
    if self.pooling not in (*POOLING, "stride"):
      raise UserError(
        f"unknown pooling {self.pooling!r}; known: mean, max, stride"
      )
    if x.ndim != 4:
      raise UserError(
        f"convnet wants images (h, w, c), got records of shape {x.shape[1:]}"
      )
    stride = 2 if self.pooling == "stride" else 1
    for width in self.widths:
      x = nn.Conv(
        width,
        (self.kernel, self.kernel),
        stride,
        conv_general_dilated=patch_product,
      )(x)
      x = activation(self.activation)(x)
      if self.pooling in POOLING and min(x.shape[1:3]) < 2:
        raise UserError(
          f"convnet halves its images {len(self.widths)} times, once a width, "
          "and these are too small for it; give fewer widths"
        )
      x = POOLING.get(self.pooling, lambda x: x)(x)
    return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1))
