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
  with pytest.raises(UserError, match="optimizer must be"):
    doors.recipe(_plain(), 0.1, steps=1)
  for given in (dict(steps=1.5), dict(steps=0), dict(steps=1, batch_size=0.5)):
    with pytest.raises(UserError, match="recipe wants whole numbers"):
      doors.recipe(_plain(), optax.sgd(0.1), **given)


@pytest.mark.parametrize(
  "labels, message",
  [
    (lambda y: y + 10, r"whole numbers in \[0, 2\), got 10..11"),
    (lambda y: y - 1, r"whole numbers in \[0, 2\), got -1..0"),
    (lambda y: y[:, None], r"labels of shape \(24, 1\) do not go with"),
    (lambda y: np.eye(2, dtype=int)[y], r"labels of shape \(24, 2\) do not"),
    (lambda y: y.astype(float), r"y is float32 .*\(24, 2\): cast y to int"),
  ],
)
def test_labels_that_do_not_go_with_the_outputs(labels, message):
  x, y = _rows(real=False)
  train = doors.recipe(_plain(), optax.sgd(0.1), steps=1)
  with pytest.raises(UserError, match=message):
    doors.audit(train, x, labels(y), records=[1])


class _Dropping(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Dropout(0.5, deterministic=False)(x)
    return nn.Dense(2, kernel_init=nn.initializers.zeros)(x)


class _DroppingLayers(nnx.Module):
  def __init__(self, rngs):
    self.first = nnx.Dropout(0.5, rngs=rngs)
    self.second = nnx.Dropout(0.5, rngs=rngs)
    zeros = nnx.initializers.zeros
    self.last = nnx.Linear(10, 2, kernel_init=zeros, rngs=rngs)

  def __call__(self, x):
    return self.last(jnp.hstack([self.first(x), self.second(x)]))


@pytest.mark.parametrize("model", [_Dropping(), _DroppingLayers])
def test_dropout_is_drawn_anew_each_step(model):
  x, y = np.ones((1, 5), np.float32), np.zeros(1, int)

  def kernels(seed, steps):
    train = doors.recipe(model, optax.sgd(1.0), steps=steps)
    end = train(jax.random.key(seed), x, y)
    return next(a for a in jax.tree.leaves(end) if a.ndim == 2)[:, 0]

  one = kernels(0, 1)  # 0 where the first step dropped a feature
  assert 0 < (one != 0).sum() < len(one)
  assert (kernels(0, 12) != 0).all()  # later steps dropped others
  np.testing.assert_array_equal(one, kernels(0, 1))
  assert any(((kernels(s, 1) != 0) != (one != 0)).any() for s in range(1, 4))
  if len(one) == 10:  # two layers do not draw the same
    assert ((one[:5] != 0) != (one[5:] != 0)).any()


class _Normalising(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(2)(nn.BatchNorm(use_running_average=False)(x))


def test_batch_statistics_are_refused():
  x, y = _rows(real=False)
  with pytest.raises(UserError, match="keeps batch_stats beside.*yourself"):
    train = doors.recipe(_Normalising(), optax.sgd(0.1), steps=1)
    doors.audit(train, x, y, records=[1])
  with pytest.raises(UserError, match="keeps BatchStat beside"):
    make = lambda rngs: nnx.BatchNorm(5, rngs=rngs)  # noqa: E731
    doors.recipe(make, optax.sgd(0.1), steps=1)
