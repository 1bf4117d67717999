"""Draws an image from the parameters, beginning with what the model saw of it.

The target's direct effect on a dense kernel W (F, K) is a sum of terms f aᵀ:
the layer's input f times the back-propagated error a. In a convolutional
network f is the last feature map, so that, as in `bilinear`, a contraction of W
with predicted errors reads the target's feature map from the parameters:

  f_r = (s * W̃) c_r(θ̃),  r = 1 ... heads,

θ̃ the standardised parameters, W̃ (F, K) their part in that kernel, s (F, K)
learned scales, c_r (K) heads of a small network. What tells c is in part
close by: the layer's bias has moved along a, and (s * W̃)ᵀ(s * W̃) is about
‖f‖² a aᵀ; both are shown to that network beside a fully connected trunk on
all parameters. Laid out as the map it is, f joins a residual decoder at its
own resolution; the decoder begins with what the trunk makes of all
parameters. Where the first layer is dense, f is the image itself. A
convolution's gradient sums the products of error and image over all places,
kh·kw·C numbers a filter: no map is left to be laid out, and the trunk reads
it with the rest. Derived for this project; what tells c was chosen by the
loss on held-out shadow models.
"""

import math
import re
import zlib
from collections.abc import Callable, Collection, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from informed_recon import tree
from informed_recon.models import activation
from informed_recon.types import UserError

TINY = dict(width=16, sketch=32, channels=4)
SCALE_INIT = 0.1  # of s: the read-out starts small beside the trunk
HIDDEN = 128  # units between what tells of the errors and the errors
EPS = 1e-6
COARSEST = 4  # pixels a side, where the decoder begins
GROUPS = 4  # of the norms; channels are multiples of it
SKEW = 2.0  # times the record's proportions: no map of it is longer or higher


class Network(nn.Module):
  """Sketch, trunk, read-out and decoder.

  `layers` is a regular expression for how the names of the arrays begin that
  are read; "" is all. An array of more than `sketch` numbers enters the trunk
  as a random projection to so many (0: as it is). The trunk has `depth` layers
  of `width`; the decoder `blocks` residual blocks a resolution, of `channels`
  at full size and twice as many at every halving.
  """

  layout: tuple[tree.Leaf, ...]
  record_shape: tuple[int, ...]
  layers: str = ""
  sketch: int = 4096
  width: int = 512
  depth: int = 2
  heads: int = 4
  channels: int = 32
  blocks: int = 1
  activation: str = "gelu"
  dropout: float = 0.2

  @nn.compact
  def __call__(self, params, train: bool):
    if len(self.record_shape) != 3 or self.channels % GROUPS:
      raise UserError(
        f"conv draws images (h, w, c) with channels in multiples of {GROUPS}, "
        f"got records {self.record_shape} and {self.channels} channels"
      )
    act = activation(self.activation)
    parts = {
      leaf: params[:, leaf.start : leaf.start + leaf.size]
      for leaf in _visible(self.layout, self.layers)
    }
    # An encoder an array: biases would drown in one for all.
    x = sum(
      nn.Dense(self.width)(_sketched(leaf.name, part, self.sketch))
      for leaf, part in parts.items()
    ) / math.sqrt(len(parts))
    for layer in range(self.depth):
      x = act(nn.Dense(self.width)(x) if layer else x)
      x = nn.Dropout(self.dropout, deterministic=not train)(x)

    levels = _levels(self.record_shape, self.channels)
    readable = _readable(self.layout, self.record_shape, parts)
    if readable is not None:
      kernel, shape = readable
      own_bias = kernel.name.replace("kernel", "bias")
      bias = [part for leaf, part in parts.items() if leaf.name == own_bias]
      read_out = ReadOut(self.heads, self.sketch, act, name="read_out")
      seen = read_out(
        parts[kernel].reshape(-1, *kernel.shape),
        jnp.concatenate([x, *bias], axis=1),
      ).reshape(-1, *shape[:2], shape[2] * 2 * self.heads)
      join = next(size for size, _ in levels if size[0] >= shape[0])

    (height, width), channels = levels[0]
    x = nn.Dense(height * width * channels, name="seed")(x)
    x = x.reshape(-1, height, width, channels)
    for size, channels in levels:
      x = _resized(x, size, "nearest")
      if readable is not None and size == join:
        x = jnp.concatenate([x, _resized(seen, size, "linear")], axis=-1)
      x = nn.Conv(channels, (3, 3))(x)
      for _ in range(self.blocks):
        x = Block(act)(x)
    x = act(nn.GroupNorm(GROUPS)(x))
    return nn.sigmoid(nn.Conv(self.record_shape[2], (3, 3), name="pixels")(x))


class ReadOut(nn.Module):
  """(B, F, K) kernel and (B, D) hints -> (B, F, 2 heads): f_r, and f_r again
  with a mean square of 1, for an error's size is harder to tell than its
  direction."""

  heads: int
  sketch: int
  activation: Callable[[jax.Array], jax.Array]

  @nn.compact
  def __call__(self, kernel, hints):
    _, features, outputs = kernel.shape
    scale = self.param(
      "scale", nn.initializers.constant(SCALE_INIT), (features, outputs)
    )
    kernel = kernel * scale
    gram = jnp.einsum("bfk,bfl->bkl", kernel, kernel).reshape(-1, outputs**2)
    gram = _sketched("gram", gram, self.sketch)
    x = jnp.concatenate([hints, gram / (features * SCALE_INIT**2)], axis=1)
    x = self.activation(nn.Dense(HIDDEN, name="hidden")(x))
    errors = nn.Dense(self.heads * outputs, name="errors")(x)
    errors = errors.reshape(-1, self.heads, outputs)
    seen = jnp.einsum("bfk,brk->bfr", kernel, errors)
    size = jnp.mean(jnp.square(seen), axis=1, keepdims=True)
    return jnp.concatenate([seen, seen * jax.lax.rsqrt(size + EPS)], axis=2)


class Block(nn.Module):
  """x plus two convolutions of it, each after a norm."""

  activation: Callable[[jax.Array], jax.Array]

  @nn.compact
  def __call__(self, x):
    y = x
    for _ in range(2):
      y = self.activation(nn.GroupNorm(GROUPS)(y))
      y = nn.Conv(x.shape[-1], (3, 3))(y)
    return x + y


def _visible(layout: Sequence[tree.Leaf], layers: str) -> list[tree.Leaf]:
  visible = [leaf for leaf in layout if re.match(layers, leaf.name)]
  if not visible:
    known = ", ".join(leaf.name for leaf in layout)
    raise UserError(f"no released layer matches {layers!r}; known: {known}")
  return visible


def _sketched(name: str, x: jax.Array, size: int) -> jax.Array:
  """(B, n) -> (B, size) where n is larger: sums of n/size numbers, each at
  random in one of them with a random sign, which on average keeps inner
  products (Weinberger et al. 2009), for n additions and no stored matrix."""
  count = x.shape[1]
  if not size or count <= size:
    return x
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  share = -(-count // size)
  order = rng.permutation(share * size)
  signs = rng.choice(np.array([-1, 1], np.int8), count).astype(x.dtype)
  x = jnp.pad(x * signs, ((0, 0), (0, share * size - count)))[:, order]
  return x.reshape(-1, size, share).sum(2) / math.sqrt(share)


def _levels(
  record_shape: Sequence[int], channels: int
) -> list[tuple[tuple[int, int], int]]:
  """Size and channels of the decoder's resolutions, the coarsest first."""
  size = tuple(record_shape[:2])
  levels = [(size, channels)]
  while max(size) > COARSEST:
    size, channels = tuple(-(-n // 2) for n in size), 2 * channels
    levels.insert(0, (size, channels))
  return levels


def _readable(
  layout: Sequence[tree.Leaf],
  record_shape: tuple[int, ...],
  visible: Collection[tree.Leaf],
) -> tuple[tree.Leaf, tuple[int, ...]] | None:
  """The first visible dense kernel whose inputs are the record or a feature
  map, and that map's shape (h', w', c').

  Where there are convolutions, the map has the channels of the last one, and
  among the sizes of its area the one nearest to the record's proportions, up to
  `SKEW` from them.
  """
  height, width, _ = record_shape
  kernels = [leaf for leaf in layout if len(leaf.shape) == 4]
  for leaf in visible:
    if len(leaf.shape) != 2:
      continue
    inputs = leaf.shape[0]
    if not kernels:
      if inputs == math.prod(record_shape):
        return leaf, record_shape
      continue
    channels = max(kernels, key=lambda k: _natural(k.name)).shape[-1]
    if inputs % channels:
      continue
    area = inputs // channels
    sizes = [
      (abs(math.log(high * high / area * width / height)), high, area // high)
      for high in range(1, height + 1)
      if area % high == 0 and area // high <= width
    ]
    if sizes and min(sizes)[0] <= math.log(SKEW):
      return leaf, (*min(sizes)[1:], channels)
  return None


def _natural(name: str) -> list[str | int]:
  """Orders Conv_10 after Conv_9."""
  parts = re.split(r"(\d+)", name)
  return [int(part) if i % 2 else part for i, part in enumerate(parts)]


def _resized(x: jax.Array, size: tuple[int, int], method: str) -> jax.Array:
  if x.shape[1:3] == size:
    return x
  return jax.image.resize(x, (x.shape[0], *size, x.shape[3]), method)
