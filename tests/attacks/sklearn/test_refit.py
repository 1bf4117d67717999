"""Records from models that their solver left at its default tolerance."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import (
  Lasso,
  LogisticRegression,
  PoissonRegressor,
  Ridge,
  SGDRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from informed_recon.attacks import sklearn as attack
from informed_recon.attacks.sklearn import refit
from informed_recon.types import UserError


def records():
  x, y = load_breast_cancer(return_X_y=True)
  return StandardScaler().fit_transform(x)[:120, :5], y[:120]


def with_target_last(x, y, target):
  order = np.append(np.delete(np.arange(len(x)), target), target)
  return x[order], y[order]


@pytest.mark.parametrize("solver", ["newton-cholesky", "newton-cg", "lbfgs"])
def test_default_tolerance(solver):
  came_back = 0
  for target in range(3):
    x, y = with_target_last(*records(), target)
    model = LogisticRegression(solver=solver).fit(x, y)
    direct = attack.reconstruct(model, x[:-1], y[:-1])
    result = refit.reconstruct(model, x[:-1], y[:-1], starts=4, shadows=20)
    if result.identifiable:
      error = np.abs(result.x - x[-1]).max()
      assert error < 1e-4
      assert error <= max(np.abs(direct.x - x[-1]).max(), 1e-9)
      assert result.y == y[-1]
      came_back += 1
    else:
      assert result.message
  assert came_back >= 2


def test_a_model_of_other_records_is_not_explained():
  x, y = with_target_last(*records(), 0)
  model = LogisticRegression(solver="newton-cg").fit(x, y)
  # The adversary's known set lacks ten records besides the target.
  result = refit.reconstruct(model, x[:-11], y[:-11], starts=1, shadows=5)
  assert not result.identifiable
  assert result.residual > refit.MATCH


def test_scaled_features_come_back_in_their_own_units():
  x, y = with_target_last(*records(), 1)
  x = 100.0 + 7.0 * x
  model = make_pipeline(
    StandardScaler(), LogisticRegression(solver="newton-cg")
  ).fit(x, y)
  result = refit.reconstruct(model, x[:-1], y[:-1], starts=4, shadows=20)
  assert result.identifiable, result.message
  np.testing.assert_allclose(result.x, x[-1], rtol=1e-4)


def test_exact_models_take_the_short_way():
  x, y = records()
  model = LogisticRegression(
    solver="newton-cholesky", tol=1e-13, max_iter=1000
  ).fit(x, y)
  known = np.delete(x, 7, 0), np.delete(y, 7)
  np.testing.assert_array_equal(
    refit.reconstruct(model, *known).x,
    attack.reconstruct(model, *known).x,
  )


def test_regressions_come_back_with_their_response():
  x, _ = records()
  y = np.random.default_rng(0).poisson(np.exp(0.5 * x[:, 0])).astype(float)
  model = PoissonRegressor(tol=1e-3).fit(x, y)
  direct = attack.reconstruct(model, x[:-1], y[:-1])
  result = refit.reconstruct(model, x[:-1], y[:-1], starts=3, shadows=20)
  assert result.identifiable, result.message
  assert np.abs(direct.x - x[-1]).max() > 1e-3  # it was stopped early
  assert not result.checked and "not checked" in result.message
  np.testing.assert_allclose(result.x, x[-1], rtol=1e-5)
  np.testing.assert_allclose(result.y, y[-1], atol=1e-5)


def test_without_intercept_many_records_lead_to_the_weights():
  """And the closed form's answer, a direction, is no start."""
  x, _ = records()
  y = x[:, 0] + np.sin(np.arange(len(x)))
  model = Ridge(fit_intercept=False).fit(x, y)
  result = refit.reconstruct(model, x[1:], y[1:], starts=1, shadows=3)
  assert not result.identifiable


def test_a_lost_feature_is_not_made_up():
  x, _ = records()
  y = x[:, 0] + 0.1 * np.sin(np.arange(len(x)))
  model = Lasso(0.1).fit(x, y)
  result = refit.reconstruct(model, x[1:], y[1:], starts=1, shadows=3)
  assert not result.identifiable


def test_unsupported_estimators():
  x, y = records()
  both = Ridge().fit(x, np.c_[y, y])
  with pytest.raises(UserError, match="one response"):
    refit.reconstruct(both, x[1:], np.c_[y, y][1:])
  alone = np.where(np.arange(len(y)) == 0, 2, y)
  with pytest.raises(UserError, match="every class"):
    refit.reconstruct(
      LogisticRegression(max_iter=5).fit(x, alone), x[1:], y[1:]
    )
  with pytest.raises(UserError, match="SGDRegressor"):
    refit.reconstruct(SGDRegressor().fit(x, y), x[1:], y[1:])
