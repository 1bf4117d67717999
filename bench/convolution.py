"""Training a convolutional network: XLA's convolution against patch_product.

python -m bench.convolution --quick

Steps of gradient descent in a jitted scan, one model or several under vmap, on
100 random 32x32 colour images. Then several models under vmap (ours) against
one after another by `lax.map` (peer), both by patch_product.
"""

import json
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved
from informed_recon import stages
from informed_recon.models.layers.convolution import patch_product

_QUICK = flags.DEFINE_bool("quick", False, "one network, few models and rounds")
RECORDS, CLASSES, STEPS = 100, 10, 2


class Network(nn.Module):
  """As `models/convnet.py`, with any convolution."""

  convolution: object
  widths: tuple[int, ...]
  stride: int

  @nn.compact
  def __call__(self, x):
    for width in self.widths:
      conv = nn.Conv(
        width, (3, 3), self.stride, conv_general_dilated=self.convolution
      )
      x = nn.elu(conv(x))
      x = nn.avg_pool(x, (2, 2), (2, 2)) if self.stride == 1 else x
    return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


def main(argv):
  del argv
  networks = [((12, 48), 2)]
  if not _QUICK.value:
    networks += [((32, 64, 96), 1)]
  for widths, stride in networks:
    for models in (1,) if _QUICK.value else (1, 8):
      print(json.dumps(convolutions(widths, stride, models)), flush=True)
    row = ensembles(widths, stride, 4 if _QUICK.value else 32)
    print(json.dumps(row), flush=True)
  print(json.dumps(dict(environment=stages.environment())))


def convolutions(widths: tuple[int, ...], stride: int, models: int) -> dict:
  """Models · steps a second with either convolution."""
  cases = dict(
    ours=training(patch_product, widths, stride, models, jax.vmap),
    peer=training(
      jax.lax.conv_general_dilated, widths, stride, models, jax.vmap
    ),
  )
  what = f"convnet {widths}, stride {stride}, {models} models"
  return compared(what, cases, models)


def ensembles(widths: tuple[int, ...], stride: int, models: int) -> dict:
  """Models · steps a second side by side, and one model at a time."""

  def scanned(train):
    return lambda many: jax.lax.map(train, many)

  cases = dict(
    ours=training(patch_product, widths, stride, models, jax.vmap),
    peer=training(patch_product, widths, stride, models, scanned),
  )
  what = f"convnet {widths}, stride {stride}, {models} models, vmap against map"
  return compared(what, cases, models)


def training(
  convolution,
  widths: tuple[int, ...],
  stride: int,
  models: int,
  over: Callable[[Callable], Callable],
) -> Callable[[], None]:
  """Trains the models for STEPS; `over` makes one training that of many."""
  rng = np.random.default_rng(0)
  x = rng.random((RECORDS, 32, 32, 3), np.float32)
  y = jax.nn.one_hot(rng.integers(CLASSES, size=RECORDS), CLASSES)
  network = Network(convolution, widths, stride)
  keys = jax.random.split(jax.random.key(0), models)
  many = jax.vmap(lambda key: network.init(key, x[:1]))(keys)

  def train(params):
    def step(params, _):
      def loss(params):
        return -jnp.mean(y * jax.nn.log_softmax(network.apply(params, x)))

      grads = jax.grad(loss)(params)
      return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), None

    return jax.lax.scan(step, params, None, length=STEPS)[0]

  run = jax.jit(over(train))
  return lambda: jax.block_until_ready(run(many))


def compared(what: str, cases: dict, models: int) -> dict:
  seconds = interleaved(cases, rounds=1 if _QUICK.value else 3)
  rates = {k: models * STEPS / s for k, s in seconds.items()}
  return dict(
    case=what,
    ours=round(rates["ours"], 2),
    peer=round(rates["peer"], 2),
    ratio=round(rates["ours"] / rates["peer"], 1),
    unit="steps/s",
  )


if __name__ == "__main__":
  app.run(main)
