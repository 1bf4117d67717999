"""Residual network with group norm, of some 80,000 parameters on 32x32 images.

He, Zhang, Ren, Sun (2016), with norm and activation before the convolutions;
group norm (Wu, He 2018) in place of batch norm, which would couple the records.
"""

import flax.linen as nn

from informed_recon.models import activation
from informed_recon.models.layers.convolution import patch_product
from informed_recon.types import UserError

TINY = dict(widths=(2, 4), groups=2)


class Network(nn.Module):
  """A stem, stages of residual blocks, logits of the mean over the image.

  `widths` are the channels of the stages, each after the first at half of the
  size; `blocks` a stage's number of blocks; `groups` those of every norm. The
  first convolution has a stride of `stem`.
  """

  num_classes: int
  widths: tuple[int, ...] = (16, 32, 64)
  blocks: int = 1
  groups: int = 8
  stem: int = 1
  activation: str = "relu"

  @nn.compact
  def __call__(self, x):
    if x.ndim != 4:
      raise UserError(
        f"resnet wants images (h, w, c), got records of shape {x.shape[1:]}"
      )
    groups = self.groups
    if groups < 1 or not self.widths or any(w % groups for w in self.widths):
      raise UserError(
        "resnet wants widths, and groups that divide them, got "
        f"{self.widths} and {groups}"
      )
    if self.stem < 1:
      raise UserError(f"resnet wants a stem of at least 1, got {self.stem}")
    act = activation(self.activation)

    def convolve(x, width, size=3, stride=1):
      return nn.Conv(
        width,
        (size, size),
        stride,
        use_bias=False,
        conv_general_dilated=patch_product,
      )(x)

    def normed(x):
      return act(nn.GroupNorm(self.groups)(x))

    x = convolve(x, self.widths[0], stride=self.stem)
    for stage, width in enumerate(self.widths):
      for block in range(self.blocks):
        stride = 2 if stage and not block else 1
        y = normed(x)
        plain = stride == 1 and x.shape[-1] == width
        skip = x if plain else convolve(y, width, 1, stride)
        y = convolve(y, width, stride=stride)
        x = skip + convolve(normed(y), width)
    return nn.Dense(self.num_classes)(normed(x).mean((1, 2)))
