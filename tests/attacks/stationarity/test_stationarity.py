"""Records out of weights whose training nobody knows, and when not to trust."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from informed_recon.attacks import stationarity
from informed_recon.training import stationary
from informed_recon.types import UserError

N, CLASSES, WIDTH, L2 = 80, 4, 12, 1e-3
_x, _y = load_digits(return_X_y=True)
_pick = np.flatnonzero(_y < CLASSES)[::2][: N + 1]
X, Y = _x[_pick] / 16, _y[_pick]


def network(params, x, activation=jnp.tanh):
  hidden = activation(x.ravel() @ params["W"] + params["b"])
  return hidden @ params["V"] + params["c"]


def loss(params, x, y, activation=jnp.tanh):
  logits = network(params, x, activation)
  return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def convolutional(params, x, y):
  dimensions = ("NHWC", "HWIO", "NHWC")
  z = jax.lax.conv_general_dilated(
    *(x[None], params["k"], (1, 1), "SAME"), dimension_numbers=dimensions
  )
  z = jax.nn.softplus(z + params["kb"])
  z = z.reshape(1, 4, 2, 4, 2, -1).mean((2, 4)).ravel()
  logits = z @ params["V"] + params["c"]
  return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def start(seed, d=64):
  """Initial parameters, the release's secret."""
  keys = jax.random.split(jax.random.key(seed))
  return dict(
    W=jax.random.normal(keys[0], (d, WIDTH)) / np.sqrt(d),
    b=jnp.zeros(WIDTH),
    V=jax.random.normal(keys[1], (WIDTH, CLASSES)) / np.sqrt(WIDTH),
    c=jnp.zeros(CLASSES),
  )


@functools.cache
def release(l2=L2, tolerance=1e-10):
  """A model of all N + 1 records at a stationary point."""
  params, size = stationary.minimise(
    loss, start(3), X, Y, l2=l2, tolerance=tolerance
  )
  assert size <= tolerance
  return jax.tree.map(np.asarray, params)


def test_a_dense_layer_gives_its_record_away():
  assert not jax.config.jax_enable_x64
  answer = stationarity.reconstruct(loss, release(), X[:N], Y[:N], l2=L2)
  assert answer.identifiable and answer.checked, answer.message
  assert answer.y == Y[N] and answer.x.dtype == np.float64
  np.testing.assert_allclose(answer.x, X[N], atol=1e-5)
  assert answer.error.shape == X[N].shape
  assert answer.residual < 1e-6
  assert not jax.config.jax_enable_x64


@pytest.mark.slow
def test_a_convolution_is_searched():
  keys = jax.random.split(jax.random.key(0))
  params = dict(
    k=0.3 * jax.random.normal(keys[0], (3, 3, 1, 8)),
    kb=jnp.zeros(8),
    V=jax.random.normal(keys[1], (128, CLASSES)) / np.sqrt(128),
    c=jnp.zeros(CLASSES),
  )
  images = X.reshape(-1, 8, 8, 1)
  params, _ = stationary.minimise(
    convolutional, params, images, Y, l2=L2, tolerance=1e-10
  )
  answer = stationarity.reconstruct(
    convolutional, params, images[:N], Y[:N], l2=L2
  )
  # Found, though the border's pixels are known too badly to be vouched for.
  assert answer.x.shape == (8, 8, 1) and answer.y == Y[N]
  np.testing.assert_allclose(answer.x, images[N], atol=1e-3)


WRONG = {
  "l2 of another training": lambda x, y: (x, y, 1.02 * L2),
  "no l2": lambda x, y: (x, y, 0.0),
  "a wrong record": lambda x, y: (np.r_[x[1:2], x[1:]], y, L2),
  "a wrong label": lambda x, y: (x, np.r_[(y[0] + 1) % CLASSES, y[1:]], L2),
  "another record missing": lambda x, y: (x[1:], y[1:], L2),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_knowledge_is_not_vouched_for(name):
  x, y, l2 = WRONG[name](X[:N], Y[:N])
  answer = stationarity.reconstruct(loss, release(), x, y, l2=l2)
  assert not answer.identifiable and answer.message


def test_training_that_stopped_short_is_not_vouched_for():
  rng = np.random.default_rng(0)
  moved = jax.tree.map(lambda a: a + 1e-3 * rng.normal(size=a.shape), release())
  answer = stationarity.reconstruct(loss, moved, X[:N], Y[:N], l2=L2)
  off = np.sqrt(np.mean((answer.x - X[N]) ** 2))
  assert not answer.identifiable or off < 1e-3


def test_answers_keep_the_bounds_and_one_that_cannot_is_not_vouched_for():
  answer = stationarity.reconstruct(
    loss, release(), X[:N], Y[:N], l2=L2, bounds=(0.0, 0.7)
  )
  assert X[N].max() > 0.9 and not answer.identifiable
  assert "outside bounds=(0, 0.7), as known" in answer.message
  for x, _ in answer.candidates:
    assert 0 <= x.min() and x.max() <= 0.7
  assert answer.x.max() == 0.7


def test_a_real_response():
  """A regression: features and response are sought together."""

  def squared(params, x, y):
    return 0.5 * (network(params, x)[0] - y) ** 2

  y = X[:, 20] + 0.1 * np.arange(N + 1) / N
  params, _ = stationary.minimise(
    squared, start(5), X, y, l2=L2, tolerance=1e-11
  )
  answer = stationarity.reconstruct(squared, params, X[:N], y[:N], l2=L2)
  off = np.sqrt(np.mean((answer.x - X[N]) ** 2))
  assert off < 1e-4 or not answer.identifiable


@pytest.mark.parametrize(
  "change,words",
  [
    (dict(known_x=np.full((3, 64), np.nan)), "known_x must be finite"),
    (dict(known_y=Y[:3]), "known_y must have a label"),
    (dict(l2=-1.0), "l2 must be"),
    (dict(l2="1"), "l2 must hold numbers"),
    (dict(bounds=(1.0, 0.0)), "bounds must be"),
    (dict(labels=[]), "labels must"),
    (dict(params={}), "params must be"),
    (dict(loss=lambda p, x, y: network(p, x)), "loss must return"),
    (dict(loss=lambda p, x: 0.0), "loss"),
  ],
)
def test_bad_input_is_one_line(change, words):
  given = dict(loss=loss, params=start(0), known_x=X[:N], known_y=Y[:N])
  given = given | dict(l2=L2) | change
  with pytest.raises(UserError, match=words) as error:
    stationarity.reconstruct(**given)
  assert "\n" not in str(error.value)
