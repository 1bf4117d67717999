"""How unlike two images look: a distance between features of a network.

Zhang, Isola, Efros, Shechtman, Wang (2018), LPIPS:

  d(a, b) = Σ_l mean_{h,w} Σ_c w_lc (â_lhwc - b̂_lhwc)²,

with â_lhwc the features of layer l, of unit length over the channels at every
place. The features are those of a classifier trained here on what the adversary
holds (all w = 1), or the published ones from a file the user gives.

That file is an `.npz` of float arrays, for AlexNet (5 convolutions) or VGG16
(13), counted from 0 in the order in which they are applied:

  conv0/kernel (kh, kw, c_in, c_out), conv0/bias (c_out), conv1/kernel, ...
  lin0 (c), ... lin4 (c)   weights w_l of the five tapped layers, at least 0

AlexNet is tapped after every convolution's ReLU, VGG16 after the last one's
before each pooling and at the end. PyTorch holds a kernel as (c_out, c_in, kh,
kw): transpose by (2, 3, 1, 0). Pixels in [0, 1] are expected; the shift and
scale that LPIPS applies to them are applied here.
"""

import dataclasses
import hashlib
import io
import pathlib
import zipfile
import zlib
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.evaluation import judge
from informed_recon.models import Model
from informed_recon.models.layers.convolution import patch_product
from informed_recon.types import Records, UserError

# (B, h, w, c) twice -> (B,). A pytree whose leaves are the network's weights,
# so that it can be an argument of a jitted function.
Distance = jax.tree_util.Partial

EPS = 1e-10  # beside the squared length of features, which may all be zero
# LPIPS's, of pixels in [-1, 1].
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


@dataclasses.dataclass(frozen=True)
class Spec:
  """Which features."""

  sha256: str = ""  # of the file with published ones; "": trained here
  widths: tuple[int, ...] = (16, 32, 64)  # channels of the trained ones' layers
  epochs: int = 5
  batch_size: int = 128
  learning_rate: float = 1e-3


def check(spec: Spec, shape: tuple[int, ...], classes: int, path: str) -> None:
  """Refuses what `build` could not build for records of `shape`."""
  if spec.sha256:
    published(path, spec.sha256, shape)
  elif path:
    raise UserError(
      "perf.lpips names a file; say which one it must be by perceptual.sha256"
    )
  elif len(shape) != 3 or not classes:
    raise UserError(
      "perceptual needs images (h, w, c) with classes to learn features from, "
      f"got records {shape} with {classes} classes"
    )
  elif min(spec.epochs, spec.batch_size, *(spec.widths or [0])) < 1:
    raise UserError("perceptual needs widths, epochs and batch_size of 1 up")


def build(
  spec: Spec, records: Records, classes: int, key: jax.Array, path: str = ""
) -> Distance:
  """The distance in features trained on `records`, or in those of a file."""
  if spec.sha256:
    return published(path, spec.sha256, records.x.shape[1:])
  network = Features(classes, tuple(spec.widths))
  example = jnp.zeros((1, *records.x.shape[1:]))
  model = Model(
    init=lambda key: network.init(key, example),
    apply=lambda params, x: network.apply(params, x)[0],
    layout=(),
    shape=example.shape[1:],
  )
  training = judge.Classifier(spec.epochs, spec.batch_size, spec.learning_rate)
  params = judge.train(model, training, records, key)
  return Distance(partial(_trained, network), params)


def published(path: str, sha256: str, shape: tuple[int, ...]) -> Distance:
  """LPIPS with the weights in the `.npz` at `path`.

  Raises:
    UserError: no such file, another one, or images it cannot see.
  """
  try:
    raw = pathlib.Path(path).read_bytes()
  except OSError:
    raise UserError(
      f"no LPIPS weights at {path!r}; give the file by --config.perf.lpips"
    ) from None
  found = hashlib.sha256(raw).hexdigest()
  if found != sha256:
    raise UserError(
      f"{path} has the SHA-256 {found}, perceptual.sha256 is {sha256}; "
      "give the file that was meant"
    )
  try:
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
      weights = {name: jnp.asarray(file[name], jnp.float32) for name in file}
  # An .npy, none at all, a torn one: numpy has an error for each.
  except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
    weights = {}
  wrong = _wrong(weights)
  if wrong:
    raise UserError(
      f"{path} does not hold AlexNet's or VGG16's weights as "
      f"informed_recon/evaluation/perceptual.py wants them: {wrong}"
    )
  example = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  features = partial(_published_features, weights)
  if (
    len(shape) != 3
    or shape[2] not in (1, 3)
    or min(min(tap.shape) for tap in jax.eval_shape(features, example)) < 1
  ):
    raise UserError(
      f"LPIPS of {path} cannot see records of shape {shape}: it wants grey or "
      "RGB images that leave a pixel after its poolings; take the trained "
      "features (perceptual.sha256='')"
    )
  return Distance(_published, weights)


class Features(nn.Module):
  """A small classifier that shows its layers: logits, [(B, h, w, c) ...]."""

  num_classes: int
  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, x):
    taps = []
    for width in self.widths:
      if taps and min(x.shape[1:3]) > 1:
        x = nn.avg_pool(x, (2, 2), (2, 2))
      # Trained in a loop: see `convolution`.
      x = nn.Conv(width, (3, 3), conv_general_dilated=patch_product)(x)
      x = nn.gelu(x)
      taps.append(x)
    return nn.Dense(self.num_classes)(x.reshape(x.shape[0], -1)), taps


def _trained(network: Features, params, a: jax.Array, b: jax.Array):
  taps = [network.apply(params, x)[1] for x in (a, b)]
  return _distance(*taps, [1.0] * len(network.widths))


def _published(weights: dict, a: jax.Array, b: jax.Array) -> jax.Array:
  taps = [_published_features(weights, x) for x in (a, b)]
  return _distance(*taps, [weights[f"lin{i}"] for i in range(len(taps[0]))])


def _distance(a: list, b: list, weights: list) -> jax.Array:
  total = 0.0
  for first, second, weight in zip(a, b, weights, strict=True):
    square = jnp.square(_unit(first) - _unit(second))
    total = total + jnp.mean(jnp.sum(weight * square, axis=-1), axis=(1, 2))
  return total


def _unit(x: jax.Array) -> jax.Array:
  # Not over the root plus EPS, whose gradient at zero is none.
  square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(square + EPS)


class Backbone(NamedTuple):
  """A published network as stages, each with a tap at its end."""

  convolutions: tuple[int, ...]  # in each stage
  pooling: tuple[int, ...]  # window of the maximum before it; 0: none
  stride: int  # of the first convolution
  padding: int  # of the first convolution; half the kernel in the others


ALEXNET = Backbone((1, 1, 1, 1, 1), (0, 3, 3, 0, 0), 4, 2)
VGG16 = Backbone((2, 2, 3, 3, 3), (0, 2, 2, 2, 2), 1, 1)


def _backbone(weights: dict) -> Backbone | None:
  count = sum(name.endswith("/kernel") for name in weights)
  known = {sum(b.convolutions): b for b in (ALEXNET, VGG16)}
  return known.get(count)


def _wrong(weights: dict) -> str:
  """What keeps weights from being a network's; "" if nothing does."""
  backbone, channels, i = _backbone(weights), 3, 0
  wanted = {}
  for stage, count in enumerate(backbone.convolutions if backbone else ()):
    for _ in range(count):
      kernel = np.shape(weights.get(f"conv{i}/kernel", 0))
      if len(kernel) != 4 or kernel[2] != channels:
        return (
          f"conv{i}/kernel has the shape {kernel}, not (kh, kw, {channels}, "
          "c_out)"
        )
      channels = kernel[3]
      wanted |= {f"conv{i}/kernel": kernel, f"conv{i}/bias": (channels,)}
      i += 1
    wanted[f"lin{stage}"] = (channels,)
  if backbone is None or weights.keys() != wanted.keys():
    return f"found {sorted(weights)[:4]}"
  for name, shape in wanted.items():
    if weights[name].shape != shape:
      return f"{name} has the shape {weights[name].shape}, not {shape}"
    if not jnp.isfinite(weights[name]).all():
      return f"{name} is not finite"
    if name.startswith("lin") and (weights[name] < 0).any():
      return f"{name} is negative somewhere"
  return ""


def _published_features(weights: dict, x: jax.Array) -> list[jax.Array]:
  backbone, taps, i = _backbone(weights), [], 0
  x = (2 * x - 1 - SHIFT) / SCALE  # grey images become RGB
  for count, window in zip(backbone.convolutions, backbone.pooling):
    if window:
      x = nn.max_pool(x, (window, window), (2, 2))
    for _ in range(count):
      kernel, bias = weights[f"conv{i}/kernel"], weights[f"conv{i}/bias"]
      stride = 1 if i else backbone.stride
      pad = kernel.shape[0] // 2 if i else backbone.padding
      x = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(pad, pad)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
      )
      x = nn.relu(x + bias)
      i += 1
    taps.append(x)
  return taps
