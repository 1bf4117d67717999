"""What training that stopped short leaves, and an answer that allows for it."""

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks import stationarity
from informed_recon.attacks.stationarity import (
  dense,
  generalised,
  leftover,
  missing,
  search,
)
from informed_recon.attacks.stationarity import problem as problems
from tests.attacks.stationarity import test_stationarity as setting

RATE, MOMENTUM, STEPS = 0.3, 0.9, 3000


def _problem(params, x, y, loss=setting.loss, l2=setting.L2):
  return problems.check(
    loss, params, x, y, l2=l2, labels=None, bounds=(0.0, 1.0)
  )


def test_a_shape_is_the_inverse_of_its_covariance():
  rng = np.random.default_rng(0)
  factors, left = rng.normal(size=(30, 4)), rng.normal(size=30)
  basis, values = np.linalg.svd(factors, full_matrices=False)[:2]
  nothing = leftover.Shape(np.zeros((30, 0)), np.zeros(0))
  left += 50 * factors @ rng.normal(size=4)
  shape = leftover.fitted(nothing, (basis, values**2), left)
  ratio = shape.weight[0] / (1 - shape.weight[0]) / values[0] ** 2
  whole = np.eye(30) + ratio * factors @ factors.T
  np.testing.assert_allclose(shape.apply(whole), np.eye(30), atol=1e-8)
  assert 100 < ratio < 1e5  # 2,500 was drawn

  def likelihood(ratio):
    covariance = np.eye(30) + ratio * factors @ factors.T
    scale = left @ np.linalg.solve(covariance, left) / 30
    return -30 * np.log(scale) - np.linalg.slogdet(covariance)[1]

  assert likelihood(ratio) > max(
    likelihood(0.1 * ratio), likelihood(10 * ratio)
  )


def test_slow_directions_are_those_of_little_curvature():
  curvature = np.array([3.0, -0.09, 0.0, 0.5, *[1.0] * 20])

  def bowl(params, x, y):
    return 0.5 * jnp.sum(curvature * params**2) + 0.0 * jnp.sum(x) * y

  problem = _problem(np.ones(24), np.ones((3, 2)), np.zeros(3), bowl, 0.1)
  with jax.enable_x64(True):
    shape = leftover.slow(problem, np.ones(24))
  assert shape.basis.shape == (24, 1)
  np.testing.assert_allclose(
    np.abs(shape.basis[:, 0]), np.eye(24)[1], atol=1e-6
  )


@jax.jit
def _trained(params):
  """Full batches in float32, stopped short."""

  def total(params):
    losses = jax.vmap(setting.loss, (None, 0, 0))(params, setting.X, setting.Y)
    squares = sum(jnp.sum(a**2) for a in jax.tree.leaves(params))
    return losses.mean() + setting.L2 / 2 * squares

  def step(_, state):
    params, speed = state
    speed = jax.tree.map(
      lambda v, g: MOMENTUM * v - RATE * g, speed, jax.grad(total)(params)
    )
    return jax.tree.map(jnp.add, params, speed), speed

  zeros = jax.tree.map(jnp.zeros_like, params)
  return jax.lax.fori_loop(0, STEPS, step, (params, zeros))[0]


def test_an_answer_that_allows_for_it_is_nearer_and_says_how_near():
  x, y = setting.X[: setting.N], setting.Y[: setting.N]
  truth, plain, near, stated = setting.X[setting.N], [], [], []
  for seed in range(3):
    params = jax.tree.map(np.asarray, _trained(setting.start(seed)))
    problem = _problem(params, x, y)
    with jax.enable_x64(True):
      without = search.solve(problem, missing.gradient(problem))
    found = stationarity.reconstruct(setting.loss, params, x, y, l2=setting.L2)
    assert found.y == setting.Y[setting.N] and not found.identifiable
    plain.append(np.mean((without.x - truth) ** 2))
    near.append(np.mean((found.x - truth) ** 2))
    stated.append(np.mean(found.error**2))
  assert np.mean(near) < 0.5 * np.mean(plain)
  assert 0.1 < np.mean(stated) / np.mean(near) < 10


def test_the_stated_error_is_what_known_records_would_suffer():
  x, y = setting.X[: setting.N], setting.Y[: setting.N]
  params = jax.tree.map(np.asarray, setting.start(0))
  rng, size = np.random.default_rng(0), setting.X[0].size
  unknown = problems.Unknown(setting.X[0].shape, size, None)

  def factor(loss, left):
    problem = _problem(params, x, y, loss)
    gradients = np.asarray(dense.gradients(problem, problem.x, problem.y))
    posterior = generalised.Posterior(
      leftover.Shape(np.zeros((gradients.shape[1], 0)), np.zeros(0)),
      np.zeros(size),
      np.full(size, 1e-12),
    )
    left = left(gradients)
    return generalised._calibration(
      *(problem, unknown, gradients[0] - left, left, posterior),
      left @ left / len(left),
    )

  def white(gradients):
    return rng.normal(size=gradients.shape[1])

  def shaped(gradients):
    return rng.normal(size=len(gradients)) @ gradients

  def little(gradients):  # a fit has left nothing of what moves a record
    return np.append(np.zeros(gradients.shape[1] - 1), 1.0)

  def kinked(params, x, y):  # no derivative where a pixel is 0
    return setting.loss(params, x, y) + jnp.sqrt(x[27]) * params["c"][0]

  with jax.enable_x64(True):
    assert 1 <= factor(setting.loss, white) < 1.5
    assert factor(setting.loss, shaped) > 2
    assert factor(setting.loss, little) == 1
    assert np.isfinite(factor(kinked, white))
