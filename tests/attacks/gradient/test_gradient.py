"""Batches out of one gradient, and what is said where they cannot be had."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import optimize

from informed_recon import models, prng
from informed_recon.attacks import gradient
from informed_recon.attacks.gradient import moments, patterns
from informed_recon.types import UserError


def problem(activation, batch, d, m, seed=0, shift=0.0):
  rng = np.random.default_rng(seed)
  w, a = rng.normal(size=(m, d)), rng.normal(size=m) / np.sqrt(m)
  x = (rng.normal(size=(batch, d)) + shift) / np.sqrt(d)
  y = rng.integers(2, size=batch) * 2.0 - 1
  with jax.enable_x64(True):

    def loss(w, a):
      return jnp.mean((activation(x @ w.T) @ a - y) ** 2) / 2

    by_w, by_a = jax.grad(loss, (0, 1))(w, a)
  return w, a, x, y, gradient.Gradient(np.asarray(by_a), np.asarray(by_w))


def distance(found, x):
  """Largest mean squared error of a record, in the best order."""
  errors = np.mean((found[:, None] - x[None]) ** 2, -1)
  return errors[optimize.linear_sum_assignment(errors)].max()


def test_hermite_coefficients():
  for name, order, value in (
    ("tanh", 3, -0.364),
    ("sigmoid", 3, -0.062),
    ("elu", 3, -0.137),
    ("relu", 3, 0.0),
    ("gelu", 4, -0.353),
    ("silu", 4, -0.185),
    ("softplus", 4, -0.062),
  ):
    found = moments.coefficient(getattr(jax.nn, name), order)
    assert found == pytest.approx(value, abs=2e-3), name


def test_contractions_are_those_of_the_whole_tensors():
  rng = np.random.default_rng(0)
  g, w = rng.normal(size=7), rng.normal(size=(7, 3))
  u, v = rng.normal(size=(2, 3))
  eye = np.eye(3)
  three, four = np.zeros((3,) * 3), np.zeros((3,) * 4)
  for g_j, x in zip(g, w):
    three += g_j * np.einsum("i,j,k->ijk", x, x, x) / 7
    four += g_j * np.einsum("i,j,k,l->ijkl", x, x, x, x) / 7
    for a in ("i,jk->ijk", "j,ik->ijk", "k,ij->ijk"):
      three -= g_j * np.einsum(a, x, eye) / 7
    for a, b in (("ij", "kl"), ("ik", "jl"), ("il", "jk")):
      four += g_j * np.einsum(f"{a},{b}->ijkl", eye, eye) / 7
      for c, e in ((a, b), (b, a)):
        part = np.einsum(f"{c[0]},{c[1]},{e}->ijkl", x, x, eye)
        four -= g_j * part / 7
  np.testing.assert_allclose(moments.third(g, w, u), three @ u, atol=1e-12)
  np.testing.assert_allclose(
    moments.fourth(g, w, u, v), four @ v @ u, atol=1e-12
  )


@pytest.mark.parametrize("start", ["tensor", "random"])
def test_tanh_batch(start):
  w, a, x, y, g = problem(jnp.tanh, 3, 12, 600)
  found = gradient.reconstruct(
    *(w, a, jnp.tanh, g, 3), start=start, labels=(-1, 1)
  )
  # (x, y) and (-x, -y) have the same gradient: labels of both signs leave it.
  assert not found.identifiable and "no or several" in found.message
  signs = np.sign([v[np.argmax(np.abs(v))] for v in found.x])
  truth = x * np.sign(x[np.arange(3), np.abs(x).argmax(1)])[:, None]
  assert distance(found.x * signs[:, None], truth) < 1e-12
  assert found.residual < 1e-8


def test_bounds_settle_the_sign():
  w, a, x, y, g = problem(jnp.tanh, 3, 12, 600, shift=1.0)
  found = gradient.reconstruct(*(w, a, jnp.tanh, g, 3), bounds=(-0.5, 1.5))
  assert found.identifiable, found.message
  assert distance(found.x, x) < 1e-12
  assert sorted(found.y) == pytest.approx(sorted(y))


@pytest.mark.parametrize(
  "activation", [jax.nn.relu, jax.nn.leaky_relu], ids=["relu", "leaky"]
)
def test_patterns_of_a_relu_layer(activation):
  w, a, x, y, g = problem(activation, 6, 30, 500, shift=0.5)
  found = gradient.reconstruct(*(w, a, activation, g, 6), labels=(-1, 1))
  assert found.residual < 1e-10
  for v in x:
    v = v / np.linalg.norm(v)
    directions = found.x / np.linalg.norm(found.x, axis=1, keepdims=True)
    assert (directions @ v).max() > 1 - 1e-10
  assert (distance(found.x, x) < 1e-12) or not found.identifiable


def test_a_gradient_of_something_else_is_not_explained():
  w, a, x, y, g = problem(jax.nn.relu, 4, 20, 300)
  wrong = g._replace(output=g.output * (1 + 1e-3 * np.cos(np.arange(300))))
  found = gradient.reconstruct(*(w, a, jax.nn.relu, wrong, 4), labels=(-1, 1))
  assert not found.identifiable and "no batch" in found.message
  assert patterns.find(
    np.random.default_rng(0).normal(size=(50, 3)), w, 0, 1
  ) is (None)


def test_length_is_told_unknown_without_labels():
  w, a, x, y, g = problem(jax.nn.relu, 3, 20, 300)
  found = gradient.reconstruct(*(w, a, jax.nn.relu, g, 3))
  assert not found.identifiable and "homogeneous" in found.message


def test_all_but_one_known():
  model = models.build("mlp", 3, (9,), dict(width=5, activation="elu"))
  params = model.init(prng.root(0))
  rng = np.random.default_rng(0)
  x, y = rng.uniform(size=(5, 9)), rng.integers(3, size=5)

  def loss(params, x, y):
    logits = model.apply(params, x[None])[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  def mean(params):
    penalty = sum(jnp.sum(p**2) for p in jax.tree.leaves(params))
    losses = jax.vmap(loss, (None, 0, 0))(params, x, y)
    return losses.mean() + 0.05 * penalty

  with jax.enable_x64(True):
    params = jax.tree.map(lambda p: np.asarray(p, float), params)
    g = jax.tree.map(np.asarray, jax.grad(mean)(params))
  found = gradient.reconstruct_one(
    *(loss, params, g, x[1:], y[1:]), l2=0.1, labels=np.arange(3)
  )
  assert found.identifiable, found.message
  np.testing.assert_allclose(found.x, x[0], atol=1e-9)
  assert found.y == y[0]


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(batch=2), "has rank 3"),
    (dict(batch=20), "batch must lie in"),
    (dict(start="guess"), "start must be"),
    (dict(start="patterns"), "two half-lines"),
    (dict(starts=0), "starts must be"),
    (dict(output=np.ones(3)), "gradient wants"),
  ],
)
def test_refuses_in_one_line(change, message):
  w, a, _, _, g = problem(jnp.tanh, 3, 12, 100)
  given = dict(weights=w, output=a, batch=3) | change
  with pytest.raises(UserError, match=message):
    gradient.reconstruct(activation=jnp.tanh, gradient=g, **given)


@pytest.mark.parametrize("units, seeds", [(12, 6), (60, 2)])
def test_few_units_do_not_vouch_for_another_batch(units, seeds):
  """Where equations are hardly more than unknowns, another batch may explain
  the gradient: 12 unknowns, out of the output layer alone or of both."""
  vouched = 0
  for seed in range(seeds):
    w, a, x, _, g = problem(jax.nn.sigmoid, 3, 10, units, seed)
    for seen in (g, g._replace(hidden=None)):
      try:
        found = gradient.reconstruct(w, a, jax.nn.sigmoid, seen, 3, starts=4)
      except UserError:  # fewer than that
        continue
      assert not found.identifiable or distance(found.x, x) < 1e-6, seed
      vouched += found.identifiable
  assert vouched or units < 60
