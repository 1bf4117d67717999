"""Training functions of every kind, and what the audit says of each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import audit as doors

RNG = np.random.default_rng(2)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = (X.sum(1) > 0).astype(int)


def _logits(w, x):
  return jnp.pad(x, ((0, 0), (0, 1)), constant_values=1) @ w


def _losses(w, x, y):
  return optax.softmax_cross_entropy_with_integer_labels(_logits(w, x), y)


def _descend(mean_loss, w, steps=30):
  def step(w, _):
    return w - 0.5 * jax.grad(mean_loss)(w), None

  return jax.lax.scan(step, w, None, steps)[0]


def _plain(key, x, y):
  w = jax.random.normal(key, (4, 2))
  return _descend(lambda w: _losses(w, x, y).mean(), w)


def _weighted(key, x, y, weight):
  def loss(w):
    return (weight * _losses(w, x, y)).sum() / weight.sum()

  return _descend(loss, jax.random.normal(key, (4, 2)))


def _other(key, x, y):
  """The same parameters whatever the key, and a label as a matrix."""
  return _descend(lambda w: _losses(w, x, y).mean(), jnp.zeros((4, 2)))


def _until(key, x, y):
  def body(w):
    return w - 0.5 * jax.grad(lambda w: _losses(w, x, y).mean())(w)

  def going(w):
    return _losses(w, x, y).mean() > 0.3

  return jax.lax.while_loop(going, body, jax.random.normal(key, (4, 2)))


def _through_numpy(key, x, y):
  shape = jax.ShapeDtypeStruct(x.shape, jnp.float32)
  return _plain(key, jax.pure_callback(np.asarray, shape, x), y)


def test_a_weight_of_0_leaves_a_record_out():
  found = doors.audit(_weighted, X, Y, records=[0, 5, 9]).table
  sure = found[found.confident]
  assert len(sure) >= 2 and (sure.mse < 1e-4).all()
  key = jax.random.key(0)
  release = _weighted(key, X, Y, jnp.ones(40))
  for i, moved in zip(found.record, found.influence):
    others = np.delete(np.arange(40), i)
    end = _weighted(key, X[others], Y[others], jnp.ones(39))
    np.testing.assert_allclose(moved, jnp.linalg.norm(end - release), rtol=1e-3)


@pytest.mark.parametrize(
  "train, why",
  [
    (_until, "cannot be differentiated"),
    (_through_numpy, "cannot be vmapped"),
    (lambda key, x, y: _plain(key, jnp.round(8 * x) / 8, y), "is 0"),
    (lambda key, x, y, weight: _plain(key, x, y), "of weight 0 still moves"),
    (lambda key, x, y: _plain(key, np.array(x), y), "cannot be traced"),
  ],
)
def test_what_cannot_be_simulated_is_said(train, why):
  found = doors.audit(train, X, Y, records=[0, 5])
  assert why in found.statement and "Shadow models" in found.statement
  assert set(found.table.attack) == {"shadow_ridge"}
  assert not found.table.confident.any()


def test_a_function_that_wants_all_its_records():
  def train(key, x, y):
    assert len(x) == 40
    return _until(key, x, y)

  found = doors.audit(train, X, Y, records=[0])
  assert "Shadow models were impossible: train failed on 2" in found.statement
  assert "No verdict" in found.statement


@pytest.mark.parametrize("key", ["a name", 3, jax.random.PRNGKey(1)])
def test_keys_of_any_kind_for_a_function_without_derivative(key):
  def train(key, x, y):
    seed = 7 if isinstance(key, str) else key
    seed = jax.random.key(seed) if np.ndim(seed) == 0 else seed
    return _until(seed, x, y)

  found = doors.audit(train, X, Y, records=[0], key=key)
  assert set(found.table.attack) == {"shadow_ridge"}
  if not isinstance(key, str):
    secret = doors.audit(train, X, Y, records=[0], key=key, key_known=False)
    assert "a key of its own" in secret.statement


def test_a_secret_key_that_the_release_depends_on():
  found = doors.audit(_plain, X, Y, records=[0, 5], key_known=False)
  assert "the key is secret, and with another one" in found.statement
  assert set(found.table.attack) == {"shadow_ridge"}
  assert not found.table.confident.any()


def test_a_secret_key_that_protects_nothing():
  found = doors.audit(_other, X, Y, records=[0, 5], key_known=False)
  assert "protects nothing" in found.statement
  assert "makes no use of its key" in found.statement
  assert found.table.confident.all() and (found.table.mse < 1e-4).all()
  known = doors.audit(_plain, X, Y, records=[0])
  assert "key" not in " ".join(known.facts["measured"])
  with pytest.raises(doors.training.UserError, match="cannot be drawn"):
    doors.audit(lambda key, x, y: X.mean(0), X, Y, key="a", key_known=False)
