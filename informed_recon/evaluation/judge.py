"""A separate classifier, trained on what the adversary holds.

It judges reconstructions (the KL metric): is the recovered record of the same
kind as the target? It is neither the released model nor part of any attack.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from informed_recon import prng
from informed_recon.models import Model
from informed_recon.training import recipe
from informed_recon.types import Records


@dataclasses.dataclass(frozen=True)
class Classifier:
  """How the judge is trained: Adam, one-cycle cosine."""

  epochs: int = 10
  batch_size: int = 128
  learning_rate: float = 1e-3


def train(
  model: Model, spec: Classifier, records: Records, key: jax.Array
) -> Any:
  """Parameters of `model` trained on `records`."""
  count = len(records.y)
  size = min(spec.batch_size, count)
  steps = count // size
  optimizer = optax.adam(
    optax.cosine_decay_schedule(spec.learning_rate, spec.epochs * steps)
  )

  def loss(params, x, y):
    return jnp.mean(recipe.cross_entropy(model.apply(params, x), y))

  @jax.jit
  def epoch(params, state, order, x, y):
    def step(carry, ids):
      params, state = carry
      grads = jax.grad(loss)(params, x[ids], y[ids])
      updates, state = optimizer.update(grads, state, params)
      return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), order)[0]

  x, y = map(jnp.asarray, records)
  params = jax.jit(model.init)(prng.stream(key, "init"))
  state = optimizer.init(params)
  for i in range(spec.epochs):
    shuffle = jax.random.fold_in(prng.stream(key, "order"), i)
    order = jax.random.permutation(shuffle, count)[: steps * size]
    params, state = epoch(params, state, order.reshape(steps, size), x, y)

  return params


def fit(
  model: Model, spec: Classifier, records: Records, key: jax.Array
) -> Callable[[np.ndarray], np.ndarray]:
  """Trains `model` on `records`; returns x (M, *shape) -> log-probs (M, K)."""
  params = train(model, spec, records, key)

  @jax.jit
  def log_probs(params, x):
    return jax.nn.log_softmax(model.apply(params, x))

  def classify(x: np.ndarray) -> np.ndarray:
    blocks = range(0, len(x), 1000)
    return np.concatenate(
      [np.asarray(log_probs(params, x[i : i + 1000])) for i in blocks]
    )

  return classify
