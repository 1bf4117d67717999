"""What can be had before any search, against attacks and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from informed_recon.attacks import identifiability as room
from informed_recon.attacks.identifiability import View, identifiability
from informed_recon.types import UserError

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=20)


def _train(hidden=4, steps=40, blind=()):
  """x (k, 3) -> parameters of a network trained on it and on the rest."""
  rng = np.random.default_rng(1)
  start = dict(
    first=dict(w=rng.normal(size=(3, hidden)) / 2, b=np.zeros(hidden)),
    last=dict(v=rng.normal(size=hidden) / 2, c=np.zeros(())),
  )

  def seen(x):
    all_x = jnp.asarray(X).at[: len(x)].set(x).at[:, list(blind)].set(0.0)

    def loss(p):
      h = jnp.tanh(all_x @ p["first"]["w"] + p["first"]["b"])
      return jnp.mean((h @ p["last"]["v"] + p["last"]["c"] - Y) ** 2)

    def step(p, _):
      return jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(loss)(p)), None

    return jax.lax.scan(step, jax.tree.map(jnp.asarray, start), None, steps)[0]

  return seen


def _vector(seen):
  """The same on arrays of NumPy, as one float64 vector."""
  flat = jax.jit(lambda x: jax.flatten_util.ravel_pytree(seen(x))[0])

  def run(x):
    with jax.enable_x64(True):
      return np.asarray(flat(jnp.asarray(x)))

  return run


@pytest.mark.parametrize("k", [1, 2])
def test_the_predicted_error_is_that_of_an_attack_under_noise(k):
  """Least squares on releases with noise, from the truth, many times over."""
  noise = 1e-5
  seen, truth = _train(), X[:k]
  view = View(rounding="float64", noise=noise)
  said = identifiability(seen, truth, {"all": view})["all"]
  run = _vector(seen)
  theta = run(truth)
  rng = np.random.default_rng(2)
  wrong = []
  for _ in range(60):
    given = theta + noise * rng.normal(size=theta.shape)

    def misfit(z, given=given):
      return run(z.reshape(k, 3)) - given

    found = optimize.least_squares(misfit, truth.ravel(), x_scale="jac").x
    wrong.append(found - truth.ravel())
  actual = np.sqrt(np.mean(np.square(wrong), 0))
  assert said.rank == said.unknowns == 3 * k and not said.message
  np.testing.assert_allclose(actual, said.error.ravel(), rtol=0.35)
  np.testing.assert_allclose(
    np.sqrt(np.mean(np.square(wrong))), said.rms, rtol=0.2
  )


def test_the_singular_values_are_those_of_finite_differences():
  seen, step = _train(), 1e-5
  run = _vector(seen)
  jacobian = np.stack(
    [
      (run(X[:1] + step * e) - run(X[:1] - step * e)) / (2 * step)
      for e in np.eye(3)
    ],
    1,
  )
  view = View(rounding=None, noise=1.0)
  said = identifiability(seen, X[:1], {"all": view})["all"]
  values = np.linalg.svd(jacobian, compute_uv=False)
  np.testing.assert_allclose(said.condition, values[0] / values[-1], rtol=1e-5)
  covariance = np.linalg.inv(jacobian.T @ jacobian)
  np.testing.assert_allclose(
    said.error.ravel(), np.sqrt(np.diag(covariance)), rtol=1e-5
  )
  # With a prior: (F + I/τ²)⁻¹.
  said = identifiability(seen, X[:1], {"all": view}, spread=0.5)["all"]
  covariance = np.linalg.inv(jacobian.T @ jacobian + 4 * np.eye(3))
  np.testing.assert_allclose(
    said.error.ravel(), np.sqrt(np.diag(covariance)), rtol=1e-5
  )


def test_a_feature_that_training_does_not_see():
  said = identifiability(_train(blind=[1]), X[:1])["all"]
  assert said.rank == 2 and said.condition == np.inf
  assert list(np.isinf(said.error[0])) == [False, True, False]
  assert "1 directions change nothing" in said.message
  known = identifiability(_train(blind=[1]), X[:1], spread=2.0)["all"]
  assert known.error[0, 1] == pytest.approx(2.0) and known.error[0, 0] < 0.01


def test_layers_and_formats():
  said = identifiability(_train(), X[:1].astype(np.float32), spread=1.0)
  assert list(said) == ["all", "first", "last", "all, bfloat16", "all, int8"]
  assert said["first"].seen == 16 and said["last"].seen == 5
  assert said["all"].rms <= min(said["first"].rms, said["last"].rms)
  assert said["all"].rms < said["all, bfloat16"].rms < said["all, int8"].rms
  few = identifiability(
    lambda x: {"params": _train()(x)},
    X[:2].astype(np.float32),
    {"v": View(("last/v",)), "last": View("last")},
    spread=1.0,
  )
  assert few["last"].seen == 5  # any part of a name will do
  few = few["v"]
  assert few.seen == 4 and few.unknowns == 6 and few.rank <= 4
  assert "fewer numbers are seen (4) than are unknown (6)" in few.message


def test_rounding_is_as_predicted():
  """Deviations of real rounding, of each format."""
  rng = np.random.default_rng(3)
  values = rng.normal(size=4000)
  scale = np.abs(values).max() / 127
  for kind, rounded in (
    ("bfloat16", np.asarray(jnp.asarray(values, jnp.bfloat16), float)),
    ("int8", np.rint(values / scale) * scale),
  ):
    wrong = (rounded - values) / room.deviation(values, View(rounding=kind))
    assert np.sqrt(np.mean(wrong**2)) == pytest.approx(1, rel=0.05)


def test_at_a_stationary_point_of_softmax_regression():
  """There ∂∇ℓ/∂x is known: with r = p - e_y, of W: x ⊗ ∂r + I ⊗ r, of c: ∂r."""
  with jax.enable_x64(True):
    w, c = jnp.asarray(RNG.normal(size=(3, 4))), jnp.asarray(RNG.normal(size=4))
    x, y = X[:1], np.array([2])

    def loss(p, x, y):
      logits = x @ p["w"] + p["c"]
      return optax.softmax_cross_entropy_with_integer_labels(logits, y)

    p = jax.nn.softmax(x[0] @ w + c)
    r, slope = p - jnp.eye(4)[2], (jnp.diag(p) - jnp.outer(p, p)) @ w.T
    of_w = jnp.einsum("i,kj->ikj", x[0], slope)
    of_w += jnp.einsum("ij,k->ikj", jnp.eye(3), r)
    jacobian = np.concatenate([np.asarray(of_w).reshape(12, 3), slope])

    def seen(x):
      def total(p):
        return jax.vmap(loss, (None, 0, 0))(p, x, y).sum()

      return jax.grad(total)(dict(w=w, c=c))

    view = View(rounding=None, noise=1e-8)
    said = identifiability(seen, x, {"all": view})["all"]
  covariance = 1e-16 * np.linalg.inv(jacobian.T @ jacobian)
  np.testing.assert_allclose(
    said.error.ravel(), np.sqrt(np.diag(covariance)), rtol=1e-6
  )


def test_bad_input_is_one_line():
  seen = _train()
  for given, message in (
    (dict(x=X[0]), "must be real records"),
    (dict(views={"a": View(("first", "third"))}), "called 'third'.*last/v"),
    (dict(views={"a": View(rounding=None)}), "wants noise"),
    (dict(spread=np.array([1, np.inf, 1])), "spread must be"),
    (dict(seen=lambda x: jnp.sqrt(0 * x)), "no finite derivative"),
  ):
    given = dict(seen=seen, x=X[:1], views=None) | given
    with pytest.raises(UserError, match=message):
      identifiability(
        given.pop("seen"), given.pop("x"), given.pop("views"), **given
      )
