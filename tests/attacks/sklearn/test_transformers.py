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
from informed_recon.attacks.sklearn import transformers
from informed_recon.types import Reconstruction, UserError

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


def _found(pipe, x, y, i=0):
  pipe.fit(x, y)
  known = x.drop(i) if hasattr(x, "drop") else np.delete(x, i, 0)
  return attack.reconstruct(pipe, known, np.delete(y, i))


MANY_TO_ONE = {
  "sign": (preprocessing.FunctionTransformer(np.abs, lambda z: z), -1.0),
  "edge": (preprocessing.MinMaxScaler(clip=True), 3.0),
}


@pytest.mark.parametrize("name", MANY_TO_ONE)
def test_other_records_with_the_same_features_are_doubts(name):
  """Every known record comes back, and the target would not."""
  step, factor = MANY_TO_ONE[name]
  x = X.copy()
  x[0] = x.max(0) if factor > 0 else x[0]
  step.fit(x)
  x[0] *= factor
  # The step was fitted before, without this record as it is.
  z = step.transform(x)
  pipe = make_pipeline(step, softmax())
  pipe.steps[1][1].fit(z, Y)
  found = attack.reconstruct(pipe, x[1:], Y[1:])
  off = np.abs(found.x - x[0]) / X.std(0)
  assert off.max() > 1 and not found.identifiable
  assert "other records have the same features" in found.message


def test_a_value_that_was_filled_in_is_a_doubt():
  x = X.copy()
  x[0, 2] = np.nan
  pipe = make_pipeline(
    impute.SimpleImputer(), preprocessing.StandardScaler(), softmax()
  )
  found = _found(pipe, x, Y)
  assert not found.identifiable and "other records" in found.message
  assert _found(pipe, x, Y, 0).x[2] == pytest.approx(np.nanmean(x[:, 2]))
  assert _found(pipe, X, Y, 3).identifiable


def _vouched(z, error):
  return Reconstruction(z, 0, True, 0.0, error=error, checked=True)


def test_categories_without_a_name_of_their_own_are_doubts():
  """Rare ones share a column; the known records have none of them."""
  towns = pd.DataFrame(dict(town=[*["Bath", "York"] * 20, "Ely", "Ayr"]))
  step = preprocessing.OneHotEncoder(
    min_frequency=5, sparse_output=False, handle_unknown="infrequent_if_exist"
  )
  z = step.fit_transform(towns)
  transformers.check([step], towns[:40], z[:40])
  for i, identifiable in ((0, True), (40, False)):
    given = _vouched(z[i], np.full(3, 1e-9))
    found = transformers.undone(given, [step], z[:40])
    assert found.identifiable == identifiable, found
  assert "no name of its own" in found.message


def test_errors_count_in_the_units_of_the_records():
  """A hundredth of a wide logarithm's spread is much of a large record."""
  step = preprocessing.FunctionTransformer(np.log, np.exp)
  z = np.linspace(0, 12, 60)[:, None]
  for value, identifiable in ((1.0, True), (12.0, False)):
    given = _vouched(np.array([value]), np.array([0.2]))
    found = transformers.undone(given, [step], z)
    assert found.identifiable == identifiable, found
  assert "errors are too large" in found.message


def test_responses_that_are_the_same_when_transformed_are_doubts():
  y = X[:, 1] + 1
  y[0] *= -1
  regressor = compose.TransformedTargetRegressor(
    linear_model.Ridge(1e-3),
    func=np.abs,
    inverse_func=lambda z: z,
    check_inverse=False,
  ).fit(X, y)
  found = attack.reconstruct(regressor, X[1:], y[1:])
  assert found.y == pytest.approx(-y[0]) and not found.identifiable


def test_what_is_known_of_a_mixed_table():
  table = mixed_table()
  pipe = mixed_pipeline().fit(table, Y)
  told = attack.Columns(known={"acid": table["acid"][0]}, whole=["grade"])
  found = attack.reconstruct(pipe, table[1:], Y[1:], columns=told)
  assert found.identifiable and found.x[0] == table["acid"][0]
  assert found.x[1] == table["town"][0] and found.x[4] == table["grade"][0]
  told = attack.Columns(bounds={"town": (0, 1)})
  with pytest.raises(UserError, match="does not hold numbers"):
    attack.reconstruct(pipe, table[1:], Y[1:], columns=told)
