"""Training a convolutional network: XLA's convolution against patch_product.

python -m bench.convolution --quick

Steps of gradient descent in a jitted scan, one model or several under vmap, on
100 random 32x32 colour images.
"""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved
from informed_recon import stages
from informed_recon.convolution import patch_product

_QUICK = flags.DEFINE_bool("quick", False, "one network, one model, few rounds")
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
      print(json.dumps(measure(widths, stride, models)), flush=True)
  print(json.dumps(dict(environment=stages.environment())))


def measure(widths: tuple[int, ...], stride: int, models: int) -> dict:
  """Models · steps a second with either convolution."""
  rng = np.random.default_rng(0)
  x = rng.random((RECORDS, 32, 32, 3), np.float32)
  y = jax.nn.one_hot(rng.integers(CLASSES, size=RECORDS), CLASSES)

  def make(convolution):
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

    run = jax.jit(jax.vmap(train))
    return lambda: jax.block_until_ready(run(many))

  cases = dict(
    ours=make(patch_product), peer=make(jax.lax.conv_general_dilated)
  )
  seconds = interleaved(cases, rounds=1 if _QUICK.value else 3)
  rates = {k: models * STEPS / s for k, s in seconds.items()}
  return dict(
    case=f"convnet {widths}, stride {stride}, {models} models",
    ours=round(rates["ours"], 2),
    peer=round(rates["peer"], 2),
    ratio=round(rates["ours"] / rates["peer"], 1),
    unit="steps/s",
  )


if __name__ == "__main__":
  app.run(main)
