"""Baselines against scikit-learn and brute force."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from informed_recon.evaluation import baselines, metrics
from informed_recon.storage.store import Rows

SHAPE = (3, 3, 1)


def _shadows(count, params, noise=0.05, seed=0):
  """Parameters from which records can be told: linear with noise."""
  rng = np.random.default_rng(seed)
  records = rng.uniform(size=(count, *SHAPE)).astype(np.float32)
  mix = np.random.default_rng(1).normal(size=(9, params))
  theta = records.reshape(count, 9) @ mix
  theta = theta + noise * rng.normal(size=theta.shape)
  theta = (0.01 * theta + 1).astype(np.float32)  # models differ by little
  chunks = tuple(theta[s : s + 16] for s in range(0, count, 16))
  return Rows(chunks, 16), theta, records


@pytest.mark.parametrize("count, params", [(60, 20), (30, 80)])
def test_ridge_equals_scikit_learn(count, params):
  """In primal form (more models than parameters) and in dual form."""
  rows, theta, records = _shadows(count, params)
  ridge = baselines.ridge(rows, records, shadows=10_000)
  assert ridge.weights.shape == (params, 9)
  standard = (theta.astype(float) - theta.mean(0)) / theta.std(0)
  flat = records.reshape(count, -1)
  theirs = SklearnRidge(alpha=ridge.penalty).fit(standard, flat)
  np.testing.assert_allclose(ridge.weights, theirs.coef_.T, atol=1e-4)
  np.testing.assert_allclose(ridge.intercept, theirs.intercept_, atol=1e-4)
  # On parameters it has not seen, as images.
  _, fresh, _ = _shadows(5, params, seed=7)
  expected = theirs.predict((fresh - theta.mean(0)) / theta.std(0))
  guess = ridge(fresh, SHAPE)
  assert guess.shape == (5, *SHAPE) and guess.dtype == np.float32
  expected = expected.clip(0, 1).reshape(guess.shape)
  np.testing.assert_allclose(guess, expected, atol=1e-3)


@pytest.mark.parametrize("count, params", [(40, 10), (10, 40)])
def test_solver_has_an_intercept_of_its_own(count, params):
  """Parts of the shadows are not centred, as the whole is."""
  rng = np.random.default_rng(0)
  x = (1 + rng.normal(size=(count, params))).astype(np.float32)
  y = rng.uniform(size=(count, 3)).astype(np.float32)
  with jax.enable_x64(True):
    equations = baselines._normal_equations(x, y)
    weights, intercept = baselines._solution(equations, 2.0)
    # What chooses the penalty needs no weights, and agrees with them.
    seen = baselines._seen(equations, x[:7] + 1)
    loss = baselines._loss(equations, seen, y[:7], 2.0)
    given = baselines._normal_equations(x, y, x @ x.T)
  np.testing.assert_allclose(given.gram, equations.gram, atol=1e-4)
  guess = ((x[:7] + 1) @ weights + intercept).clip(0, 1)
  assert loss == pytest.approx(np.mean((guess - y[:7]) ** 2), rel=1e-4)
  theirs = SklearnRidge(alpha=2.0).fit(x, y)
  np.testing.assert_allclose(weights, theirs.coef_.T, atol=1e-5)
  np.testing.assert_allclose(intercept, theirs.intercept_, atol=1e-5)


def test_ridge_takes_the_penalty_that_predicts_best():
  """Clean linear data want little of it, pure noise wants much."""
  rows, _, records = _shadows(80, 20, noise=0.0)
  clean = baselines.ridge(rows, records, shadows=80)
  other = np.random.default_rng(5).permutation(records)
  noise = baselines.ridge(rows, other, shadows=80)
  assert clean.penalty < 0.1 * noise.penalty


def test_ridge_uses_the_first_shadows_alone():
  rows, theta, records = _shadows(60, 20)
  ours = baselines.ridge(rows, records, shadows=33)
  spoiled = records.copy()
  spoiled[33:] = 0.5
  again = baselines.ridge(rows, spoiled, shadows=33)
  np.testing.assert_array_equal(ours.weights, again.weights)


def test_ridge_on_parameters_that_tell_nothing():
  """All models equal: the answer is the mean record, not a crash."""
  _, _, records = _shadows(20, 5)
  rows = Rows((np.ones((20, 5), np.float32),), 20)
  guess = baselines.ridge(rows, records, shadows=20)(rows.all(), SHAPE)
  np.testing.assert_allclose(guess[0], records.mean(0), atol=1e-6)


def test_mean_image():
  held = np.random.default_rng(0).uniform(size=(50, *SHAPE))
  image = baselines.mean_image(held.astype(np.float32), 3)
  assert image.shape == (3, *SHAPE)
  for one in image:
    np.testing.assert_allclose(one, held.mean(0), atol=1e-6)


@pytest.mark.parametrize("shape", [SHAPE, (4,)])
def test_oracle_is_brute_force(shape):
  rng = np.random.default_rng(0)
  targets = rng.uniform(size=(300, *shape)).astype(np.float32)  # two blocks
  held = rng.uniform(size=(40, *shape)).astype(np.float32)
  held[17] = targets[280]  # a record held twice over
  oracle = baselines.nearest_neighbour_oracle(targets, held)
  distance = ((targets[:, None] - held[None]).astype(float) ** 2).reshape(
    300, 40, -1
  )
  slow = distance.mean(-1)
  np.testing.assert_array_equal(oracle.index, slow.argmin(1))
  np.testing.assert_allclose(oracle.mse, slow.min(1), rtol=1e-6, atol=1e-12)
  assert oracle.mse[280] == 0 and oracle.index[280] == 17


def test_oracle_agrees_with_the_metrics():
  """Success compares the two: they must be one measure."""
  rng = np.random.default_rng(0)
  targets, held = rng.uniform(size=(2, 6, *SHAPE)).astype(np.float32)
  oracle = baselines.nearest_neighbour_oracle(targets, held)
  errors = metrics.per_target(
    targets, held[oracle.index], lambda x: np.zeros((len(x), 2))
  )
  np.testing.assert_array_equal(errors["mse"], oracle.mse)
