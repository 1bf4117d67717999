"""Pipelines whose steps are undone, and those that cannot be."""

import numpy as np
import pandas as pd
import pytest
from sklearn import (
  compose,
  datasets,
  decomposition,
  impute,
  linear_model,
  preprocessing,
)
from sklearn.pipeline import make_pipeline

from informed_recon.attacks import sklearn as attack
from informed_recon.types import UserError

X, Y = datasets.load_wine(return_X_y=True)
X = X[:, :6]
TOWNS = np.array(["Bath", "York", "Hull"])


def softmax():
  return linear_model.LogisticRegression(
    solver="newton-cholesky", tol=1e-12, max_iter=200
  )


def mixed_table():
  rng = np.random.default_rng(0)
  table = pd.DataFrame(X[:, :3], columns=["acid", "ash", "alkali"])
  table.insert(1, "town", TOWNS[rng.integers(3, size=len(X))])
  table["grade"] = rng.integers(1, 4, len(X))
  return table


def mixed_pipeline():
  return make_pipeline(
    compose.ColumnTransformer(
      [
        ("numbers", preprocessing.StandardScaler(), ["acid", "ash"]),
        ("town", preprocessing.OneHotEncoder(), ["town"]),
        ("grade", preprocessing.OneHotEncoder(drop="first"), ["grade"]),
      ],
      remainder=make_pipeline(
        impute.SimpleImputer(), preprocessing.MinMaxScaler()
      ),
    ),
    softmax(),
  )


@pytest.mark.parametrize("i", [0, 70, 150])
def test_a_table_of_numbers_and_categories(i):
  table = mixed_table()
  fitted = mixed_pipeline().fit(table, Y)
  found = attack.reconstruct(fitted, table.drop(i), np.delete(Y, i))
  row = table.iloc[i]
  assert found.identifiable and found.y == Y[i], found.message
  assert found.x[1] == row["town"] and found.x[4] == row["grade"]
  numbers = [0, 2, 3]
  np.testing.assert_allclose(
    found.x[numbers].astype(float), row.iloc[numbers].astype(float), rtol=1e-5
  )
  assert found.error[1] == 0 and (found.error[numbers] > 0).all()


def test_features_that_are_no_record_s_are_not_vouched_for():
  """A regression has nothing to check its answer by, but its features have: a
  wrong response among the known ones leads to a category of 0.4."""
  table, y = mixed_table(), X[:, 3].copy()
  pipe = make_pipeline(mixed_pipeline()[0], linear_model.Ridge(0.1)).fit(
    table, y
  )
  right = attack.reconstruct(pipe, table.drop(0), y[1:])
  assert right.identifiable and right.x[1] == table.loc[0, "town"]
  y[5] += 3.0
  found = attack.reconstruct(pipe, table.drop(0), y[1:])
  assert not found.identifiable and "no record's" in found.message


STEPS = {
  "polynomial": preprocessing.PolynomialFeatures(2),
  "whole pca": decomposition.PCA(6, whiten=True),
  "logarithm": preprocessing.FunctionTransformer(np.log, np.exp),
  "power": preprocessing.PowerTransformer(),
  "inner": make_pipeline(
    preprocessing.RobustScaler(), preprocessing.MaxAbsScaler()
  ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_are_undone(name):
  pipe = make_pipeline(
    STEPS[name], preprocessing.StandardScaler(), softmax()
  ).fit(X, Y)
  for i in (3, 100):
    found = attack.reconstruct(pipe, np.delete(X, i, 0), np.delete(Y, i))
    assert found.identifiable and found.y == Y[i], found.message
    np.testing.assert_allclose(found.x, X[i], rtol=1e-3)
    off = np.abs(found.x - X[i]) / X.std(0)
    assert (off <= 5 * found.error / X.std(0) + 1e-6).all()


LOSSY = {
  "pca": decomposition.PCA(3),
  "no inverse": preprocessing.FunctionTransformer(np.log),
  "bins": preprocessing.KBinsDiscretizer(
    4, encode="ordinal", quantile_method="averaged_inverted_cdf"
  ),
  "dropped": compose.ColumnTransformer(
    [("first", preprocessing.StandardScaler(), [0, 1])], remainder="drop"
  ),
}


@pytest.mark.parametrize("name", LOSSY)
def test_steps_that_lose_something_are_refused(name):
  pipe = make_pipeline(LOSSY[name], softmax()).fit(X, Y)
  with pytest.raises(UserError, match="cannot be undone"):
    attack.reconstruct(pipe, X[1:], Y[1:])


def test_a_category_nobody_knows_is_one_line():
  table = mixed_table()
  fitted = mixed_pipeline().fit(table, Y)
  table.loc[3, "town"] = "Ely"
  with pytest.raises(UserError, match="cannot transform known_x"):
    attack.reconstruct(fitted, table[1:], Y[1:])


def test_transformed_responses():
  y = np.exp(X[:, 0] / 5) + X[:, 1]
  regressor = compose.TransformedTargetRegressor(
    linear_model.Ridge(1e-3), func=np.log, inverse_func=np.exp
  ).fit(X, y)
  found = attack.reconstruct(regressor, X[1:], y[1:])
  np.testing.assert_allclose(found.x, X[0], rtol=1e-6)
  assert found.y == pytest.approx(y[0], rel=1e-6)
  with pytest.raises(UserError, match="not fitted"):
    unfitted = compose.TransformedTargetRegressor(linear_model.Ridge())
    attack.reconstruct(unfitted, X[1:], y[1:])
