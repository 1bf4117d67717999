"""The trainer against plain NumPy and against training on concatenated data."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import models, prng, tree
from informed_recon.training import loop
from informed_recon.training.recipe import HParams, Keys, Recipe
from informed_recon.types import Records, UserError

KEYS = Keys(jax.random.key(1), jax.random.key(2))
SHAPE, CLASSES = (4, 4, 1), 3


@pytest.fixture(scope="module")
def mlp():
  return models.build("mlp", CLASSES, SHAPE, dict(width=5))


def _numpy_gradient(p, x, y, l2):
  """Backpropagation of the mean cross-entropy of a 1-hidden-layer ELU MLP."""
  n = len(y)
  x = x.reshape(n, -1)
  pre = x @ p["w0"] + p["b0"]
  hidden = np.where(pre > 0, pre, np.expm1(pre))
  logits = hidden @ p["w1"] + p["b1"]
  probs = np.exp(logits - logits.max(1, keepdims=True))
  probs /= probs.sum(1, keepdims=True)
  d_logits = (probs - np.eye(CLASSES)[y]) / n
  d_hidden = d_logits @ p["w1"].T
  d_pre = d_hidden * np.where(pre > 0, 1, np.exp(pre))
  grads = dict(
    w0=x.T @ d_pre,
    b0=d_pre.sum(0),
    w1=hidden.T @ d_logits,
    b1=d_logits.sum(0),
  )
  return {k: grads[k] + l2 * p[k] for k in p}


def _numpy_train(params, batches, rate, momentum, l2):
  """SGD with momentum in float64 from flax's initial parameters."""
  p = dict(
    w0=params["Dense_0"]["kernel"],
    b0=params["Dense_0"]["bias"],
    w1=params["Dense_1"]["kernel"],
    b1=params["Dense_1"]["bias"],
  )
  p = {k: np.asarray(v, np.float64) for k, v in p.items()}
  trace = {k: np.zeros_like(v) for k, v in p.items()}
  for x, y in batches:
    grads = _numpy_gradient(p, x.astype(np.float64), y, l2)
    trace = {k: grads[k] + momentum * trace[k] for k in p}
    p = {k: p[k] - rate * trace[k] for k in p}
  return p


def _assert_same(params, expected):
  layers = params["Dense_0"], params["Dense_1"]
  for i, layer in enumerate(layers):
    np.testing.assert_allclose(layer["kernel"], expected[f"w{i}"], atol=2e-6)
    np.testing.assert_allclose(layer["bias"], expected[f"b{i}"], atol=2e-6)


def _joined(fixed, target):
  return (
    np.concatenate([fixed.x, target.x[None]]),
    np.concatenate([fixed.y, [target.y]]),
  )


def _problem(make_records, n=11):
  fixed = make_records(n, SHAPE, CLASSES)
  target = Records(*(a[0] for a in make_records(1, SHAPE, CLASSES, seed=9)))
  return fixed, target


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_full_batch_equals_numpy(mlp, make_records, l2):
  fixed, target = _problem(make_records)
  train = loop.make_train(
    mlp, Recipe(steps=6, optimizer_options=dict(momentum=0.9))
  )
  ours = train(KEYS, fixed, target, HParams(0.2, l2))
  batches = [_joined(fixed, target)] * 6
  _assert_same(ours, _numpy_train(mlp.init(KEYS.init), batches, 0.2, 0.9, l2))


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_mini_batches_equal_numpy(mlp, make_records, l2):
  fixed, target = _problem(make_records)
  size, steps = 5, 5  # 12 records: 2 batches an epoch, 2 records left out
  train = loop.make_train(
    mlp,
    Recipe(steps=steps, batch_size=size, optimizer_options=dict(momentum=0.9)),
  )
  ours = train(KEYS, fixed, target, HParams(0.2, l2))
  x, y = _joined(fixed, target)
  batches, with_target = [], 0
  for step in range(steps):
    epoch, at = divmod(step, len(y) // size)
    epoch_key = jax.random.fold_in(KEYS.order, epoch)
    order = np.asarray(jax.random.permutation(epoch_key, len(y)))
    ids = order[at * size : (at + 1) * size]
    with_target += len(fixed.y) in ids
    batches.append((x[ids], y[ids]))
  assert 0 < with_target < steps  # else the target's weight is not tested
  _assert_same(ours, _numpy_train(mlp.init(KEYS.init), batches, 0.2, 0.9, l2))


@pytest.mark.parametrize("batch_size", [0, 5])
def test_base_model_sees_the_fixed_set_alone(mlp, make_records, batch_size):
  fixed, _ = _problem(make_records, n=10)
  train = loop.make_train(mlp, Recipe(steps=4, batch_size=batch_size))
  ours = train(KEYS, fixed, None, HParams(0.2))
  batches = []
  for step in range(4):
    epoch_key = jax.random.fold_in(KEYS.order, step // 2)
    order = np.asarray(jax.random.permutation(epoch_key, 10))
    at = step % 2 * 5
    ids = order[at : at + 5] if batch_size else np.arange(10)
    batches.append((fixed.x[ids], fixed.y[ids]))
  _assert_same(ours, _numpy_train(mlp.init(KEYS.init), batches, 0.2, 0.0, 0.0))


@pytest.mark.parametrize("schedule", ["constant", "cosine", "warmup_cosine"])
def test_shared_fixed_set_equals_concatenated(mlp, make_records, schedule):
  """Splitting the loss changes nothing, whatever optimiser and schedule."""
  fixed, target = _problem(make_records)
  steps, rate = 30, 0.05
  train = loop.make_train(
    mlp, Recipe(steps=steps, optimizer="adam", schedule=schedule)
  )
  # The rate is traced, as in an ensemble.
  ours = jax.jit(train)(KEYS, fixed, target, HParams(rate))
  rates = dict(
    constant=rate,
    cosine=optax.cosine_decay_schedule(rate, steps),
    warmup_cosine=optax.warmup_cosine_decay_schedule(0, rate, 1, steps),
  )
  optimizer = optax.adam(rates[schedule])
  x, y = _joined(fixed, target)
  params = mlp.init(KEYS.init)
  state = optimizer.init(params)

  @jax.jit
  def step(params, state):
    def loss(p):
      log_p = jax.nn.log_softmax(mlp.apply(p, x))
      return -jnp.mean(log_p[jnp.arange(len(y)), y])

    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  for _ in range(steps):
    params, state = step(params, state)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), ours, params
  )


def test_order_matters_only_in_mini_batches(mlp, make_records):
  fixed, target = _problem(make_records)
  other = KEYS._replace(order=prng.stream(KEYS.order, "other"))

  def weights(keys, batch_size):
    train = loop.make_train(mlp, Recipe(steps=3, batch_size=batch_size))
    return train(keys, fixed, target, HParams(0.5))["Dense_0"]["kernel"]

  np.testing.assert_array_equal(weights(KEYS, 0), weights(other, 0))
  assert not np.allclose(weights(KEYS, 4), weights(other, 4))


@pytest.mark.parametrize(
  "settings, message",
  [
    (dict(steps=0), "training.steps must be at least 1"),
    (dict(batch_size=-1), "training.batch_size must be 0"),
    (dict(optimizer="sdg"), "unknown optimizer 'sdg'; known: .*sgd"),
    (dict(schedule="linear"), "unknown schedule 'linear'; known: .*cosine"),
    (
      dict(optimizer_options=dict(momentun=0.9)),
      "'sgd' has no option 'momentun'; known: .*momentum",
    ),
  ],
)
def test_bad_recipes_are_refused_before_any_trace(mlp, settings, message):
  with pytest.raises(UserError, match=message):
    loop.make_train(mlp, Recipe(**settings))


def test_batch_larger_than_the_data_is_refused(mlp, make_records):
  fixed, target = _problem(make_records)
  train = loop.make_train(mlp, Recipe(steps=1, batch_size=13))
  with pytest.raises(UserError, match="13 exceeds the 12 records"):
    train(KEYS, fixed, target, HParams(0.1))


def test_the_average_of_the_parameters(mlp, make_records):
  """Of those of the transcript, in other coordinates too."""
  fixed, targets = make_records(6), make_records(1, seed=1)
  target = Records(*(a[0] for a in targets))
  given = KEYS, fixed, target, HParams(0.3)
  _, shown = loop.make_train(mlp, Recipe(4), transcript=True)(*given)
  last = loop.make_train(mlp, Recipe(4))(*given)
  every = [jax.tree.map(lambda a, i=i: a[i], shown.params) for i in range(4)]
  average = every[0]
  for params in [*every[1:], last]:
    average = jax.tree.map(lambda a, p: 0.7 * a + 0.3 * p, average, params)
  found = loop.make_train(mlp, Recipe(4, ema=0.7))(*given)
  np.testing.assert_allclose(
    tree.flatten(found), tree.flatten(average), atol=2e-6
  )
