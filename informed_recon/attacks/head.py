"""Pictures out of a head that was trained on frozen features.

A feature extractor f is public and stays as it is; a linear head is trained on
private pictures to its optimum. `attacks.convex` reads the features f(x) of the
missing record out of the head, up to rounding, and what turns features into a
picture is learned on public pictures, of which the adversary has any number.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from informed_recon import prng
from informed_recon.training.recipe import cross_entropy
from informed_recon.types import Records


class Extractor(nn.Module):
  """Convolutions of stride 2; the last one's outputs are the features."""

  num_classes: int
  widths: Sequence[int] = (32, 64, 32)

  def setup(self):
    self.layers = [nn.Conv(w, (3, 3), strides=2) for w in self.widths]
    self.top = nn.Dense(self.num_classes)

  def features(self, x):
    """(B, h, w, c) -> (B, d)."""
    for layer in self.layers:
      x = nn.gelu(layer(x))
    return x.reshape(len(x), -1)

  def __call__(self, x):
    return self.top(self.features(x))


def fit_extractor(
  network: Extractor,
  public: Records,
  key: jax.Array,
  *,
  epochs: int,
  batch_size: int = 128,
  learning_rate: float = 1e-3,
) -> Any:
  """Trains the extractor to tell the classes of public pictures apart.

  Args:
    network: the extractor.
    public: x (n, h, w, c) pictures in [0, 1], y (n,) their classes.
    key: of the initial weights and the batches.
    epochs: passes over the pictures.
    batch_size: of a step of Adam, all pictures where they are fewer; what is
      left of an epoch is dropped.
    learning_rate: at the start; it falls to 0 along a cosine.

  Returns:
    The parameters, a pytree.
  """
  params = network.init(prng.stream(key, "init"), public.x[:1])
  batch_size = min(batch_size, len(public.y))
  steps = len(public.y) // batch_size
  optimizer = optax.adam(
    optax.cosine_decay_schedule(learning_rate, steps * epochs)
  )
  state = optimizer.init(params)

  @jax.jit
  def step(params, state, x, y):
    def loss(params):
      return cross_entropy(network.apply(params, x), y).mean()

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return optax.apply_updates(params, updates), state

  for epoch in range(epochs):
    order = jax.random.permutation(
      jax.random.fold_in(prng.stream(key, "order"), epoch), len(public.y)
    )
    for ids in np.asarray(order)[: steps * batch_size].reshape(steps, -1):
      params, state = step(params, state, public.x[ids], public.y[ids])
  return params


def make_features(network: Extractor, params: Any) -> Callable:
  """The function x (n, h, w, c) -> features (n, d) float64 of a trained
  extractor."""
  apply = jax.jit(lambda x: network.apply(params, x, method=Extractor.features))

  def features(x: np.ndarray, block: int = 500) -> np.ndarray:
    parts = [
      apply(jnp.asarray(x[i : i + block])) for i in range(0, len(x), block)
    ]
    return np.concatenate(parts).astype(np.float64)

  return features
