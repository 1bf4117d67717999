"""Three lines for models of every kind of Flax, and of none."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn import metrics
from sklearn.datasets import load_digits

from informed_recon import audit as doors
from informed_recon.audit import frame as frames
from informed_recon.audit.influence import influence
from informed_recon.audit.training import prepare
from informed_recon.types import UserError


class _Convolution(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.gelu(nn.Conv(4, (2, 2), strides=2)(x)).reshape(len(x), -1)
    return nn.Dense(2)(x)


class _Layers(nnx.Module):
  def __init__(self, rngs):
    self.first = nnx.Linear(5, 12, rngs=rngs)
    self.last = nnx.Linear(12, 1, rngs=rngs)

  def __call__(self, x):
    return self.last(jnp.tanh(self.first(x)))


def _plain():
  def init(key, x):
    return jax.random.normal(key, (x.shape[1] + 1, 2)) / 4

  def apply(params, x):
    return jnp.pad(x, ((0, 0), (0, 1)), constant_values=1) @ params

  return init, apply


def _images():
  rng = np.random.default_rng(0)
  return rng.uniform(size=(24, 4, 4, 1)).astype(np.float32), np.arange(24) % 2


def _rows(real):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(24, 5))
  return x, (x.sum(1) if real else np.arange(24) % 2)


@pytest.mark.parametrize(
  "model, records",
  [
    (_Convolution(), _images()),
    pytest.param(_Layers, _rows(real=True), marks=pytest.mark.slow),
    pytest.param(_plain(), _rows(real=False), marks=pytest.mark.slow),
  ],
  ids=["linen", "nnx", "plain"],
)
def test_a_model_and_an_optimiser(model, records):
  train = doors.recipe(
    model, optax.sgd(0.1, momentum=0.9), steps=15, batch_size=12
  )
  found = doors.audit(train, *records, records=[1, 2])
  assert (found.table.attack == "simulation").all()
  sure = found.table[found.table.confident]
  assert len(sure) and (sure.mse < 0.01 * sure.oracle_mse).all()


def test_planted_outliers_stand_out():
  digits = load_digits()
  rng = np.random.default_rng(0)
  ids = rng.permutation(len(digits.target))[:300]
  x, y = (digits.data[ids] / 16).astype(np.float32), digits.target[ids]
  wrong, odd = np.arange(10), np.arange(10, 20)
  y[wrong] = (y[wrong] + rng.integers(1, 10, 10)) % 10
  x[odd] = rng.uniform(size=(10, 64))

  def init(key, x):
    return jax.random.normal(key, (64, 10)) / 8

  train = doors.recipe((init, lambda w, x: x @ w), optax.sgd(0.3), steps=40)
  frame, ids, moved = frames.make(x, y), np.arange(300), np.full(300, np.nan)
  training = prepare(train, jax.random.key(0), x, y, frame)
  influence(training, frame, x, y, ids, np.inf, moved)
  assert metrics.roc_auc_score(ids < 20, moved) > 0.95


def test_another_kind_of_model_is_refused():
  for model in ("mlp", _Layers(nnx.Rngs(0))):
    with pytest.raises(UserError, match="model must be"):
      doors.recipe(model, optax.sgd(0.1), steps=1)
