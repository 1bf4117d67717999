"""The attack on scikit-learn's estimators, each with its own conventions."""

import numpy as np
import pytest
from sklearn import ensemble, linear_model, multiclass, pipeline, svm
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import (
  MinMaxScaler,
  StandardScaler,
)

from informed_recon.attacks.sklearn import reconstruct
from informed_recon.types import UserError

TIGHT = {"tol": 1e-13, "max_iter": 10_000}
LR = linear_model.LogisticRegression


def scaled(load):
  x, y = load(return_X_y=True)
  return StandardScaler().fit_transform(x), y


WINE, DIABETES = scaled(load_wine), scaled(load_diabetes)
CANCER = scaled(load_breast_cancer)
_RNG = np.random.default_rng(0)
_MU = np.exp(0.4 * DIABETES[0][:, 2] + 0.5)
COUNTS = DIABETES[0], _RNG.poisson(_MU)
WAITS = DIABETES[0], _RNG.gamma(2.0, _MU / 2.0)
HIGH = DIABETES[0], np.where(DIABETES[1] > 140, "high", "low")
EXACT = "newton-cholesky"

CASES = {
  "softmax": (LR(solver=EXACT, **TIGHT), WINE),
  "softmax newton-cg": (LR(solver="newton-cg", **TIGHT), WINE),
  "softmax sag": (LR(solver="sag", **TIGHT), WINE),
  "softmax saga": (LR(solver="saga", **TIGHT), WINE),
  "softmax no intercept": (
    LR(solver=EXACT, fit_intercept=False, **TIGHT),
    WINE,
  ),
  "elastic net": (LR(solver="saga", l1_ratio=0.5, C=0.3, **TIGHT), WINE),
  "balanced": (LR(solver=EXACT, class_weight="balanced", **TIGHT), WINE),
  "binary": (LR(solver=EXACT, C=0.1, **TIGHT), HIGH),
  "binary, no penalty": (LR(solver=EXACT, C=np.inf, **TIGHT), HIGH),
  "binary, class weights": (
    LR(solver=EXACT, class_weight={"high": 3.0}, **TIGHT),
    HIGH,
  ),
  "liblinear": (
    LR(solver="liblinear", C=0.1, intercept_scaling=2.0, **TIGHT),
    HIGH,
  ),
  "one against the rest": (
    multiclass.OneVsRestClassifier(LR(solver=EXACT, **TIGHT)),
    WINE,
  ),
  "linear": (linear_model.LinearRegression(), DIABETES),
  "ridge": (linear_model.Ridge(alpha=7.0), DIABETES),
  "ridge, two outputs": (
    linear_model.Ridge(alpha=[7.0, 1.0]),
    (DIABETES[0], np.c_[DIABETES[1], WAITS[1]]),
  ),
  "ridge classifier": (linear_model.RidgeClassifier(), WINE),
  "ridge classifier, two classes": (linear_model.RidgeClassifier(), HIGH),
  "elastic net, linear": (
    linear_model.ElasticNet(alpha=2.0, tol=1e-14, max_iter=100_000),
    DIABETES,
  ),
  "poisson": (
    linear_model.PoissonRegressor(solver=EXACT, alpha=0.2, tol=1e-13),
    COUNTS,
  ),
  "gamma": (
    linear_model.GammaRegressor(solver=EXACT, alpha=0.2, tol=1e-13),
    WAITS,
  ),
  "several tasks, lasso": (
    linear_model.MultiTaskLasso(0.5, tol=1e-14, max_iter=100_000),
    (DIABETES[0], np.c_[DIABETES[1], WAITS[1]]),
  ),
  "several tasks, elastic net": (
    linear_model.MultiTaskElasticNetCV(
      alphas=[0.5], tol=1e-14, max_iter=100_000, cv=2
    ),
    (DIABETES[0], np.c_[DIABETES[1], WAITS[1]]),
  ),
  "tweedie": (
    linear_model.TweedieRegressor(
      power=1.5, solver=EXACT, alpha=0.2, tol=1e-13
    ),
    WAITS,
  ),
  "squared hinge": (svm.LinearSVC(C=1e-2, **TIGHT), HIGH),
  "scaled": (
    pipeline.make_pipeline(StandardScaler(), LR(solver=EXACT, **TIGHT)),
    load_wine(return_X_y=True),
  ),
  "scaled to a range": (
    pipeline.make_pipeline(MinMaxScaler(), linear_model.Ridge()),
    DIABETES,
  ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_recovers_records(name):
  estimator, (x, y) = CASES[name]
  estimator.fit(x, y)
  trusted = 0
  for target in range(0, 100, 25):
    result = reconstruct(
      estimator, np.delete(x, target, 0), np.delete(y, target, 0)
    )
    if not result.identifiable:
      continue
    trusted += 1
    kept = ~np.isnan(result.x)
    assert kept.sum() >= x.shape[1] - 3
    np.testing.assert_allclose(
      result.x[kept], x[target][kept], rtol=1e-4, atol=1e-4
    )
    if y.dtype.kind == "f":
      np.testing.assert_allclose(result.y, y[target], rtol=1e-5)
    else:
      assert np.all(result.y == y[target])
  assert trusted >= 2


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
  "estimator",
  [
    LR(),
    LR(solver="sag", random_state=0),
    LR(solver="liblinear"),
    linear_model.SGDClassifier(loss="log_loss", random_state=0),
    svm.LinearSVC(),
  ],
)
def test_models_stopped_early_are_never_trusted_wrongly(estimator):
  x, y = CANCER
  estimator.fit(x, y)
  for target in range(0, 500, 50):
    result = reconstruct(
      estimator, np.delete(x, target, 0), np.delete(y, target)
    )
    if result.identifiable:
      np.testing.assert_allclose(result.x, x[target], atol=1e-2)


def test_huber_is_checked_by_its_scale():
  """Records are found, inside the kink with their response; the wrong weights
  are noticed."""
  x, y = DIABETES
  model = linear_model.HuberRegressor(tol=1e-12, max_iter=5000)
  weight = _RNG.uniform(0.8, 1.2, len(y))
  for sample_weight in (None, weight):
    model.fit(x, y, sample_weight=sample_weight)
    inside = np.flatnonzero(~model.outliers_)[:30:6]
    found = [
      reconstruct(model, np.delete(x, i, 0), np.delete(y, i)) for i in inside
    ]
    trusted = [(r, i) for r, i in zip(found, inside) if r.identifiable]
    if sample_weight is not None:
      assert not trusted and any("weighted" in r.message for r in found)
      continue
    assert trusted
    for r, i in trusted:
      assert np.sqrt(np.mean((r.x - x[i]) ** 2)) < 0.03
      np.testing.assert_allclose(r.y, y[i], rtol=1e-2)


def test_a_scaler_that_saw_the_target_is_named():
  x, y = load_wine(return_X_y=True)
  model = LR(solver=EXACT, **TIGHT)
  inside = pipeline.make_pipeline(StandardScaler(), model).fit(x, y)
  assert "scaler" in reconstruct(inside, x[1:], y[1:]).message
  # And the leak is real: the mean alone gives the record.
  scaler = inside[0]
  np.testing.assert_allclose(
    len(x) * scaler.mean_ - x[1:].sum(axis=0), x[0], rtol=1e-9, atol=1e-9
  )
  # Fitted without the target it says nothing.
  scaler = StandardScaler().fit(x[1:])
  model.fit(scaler.transform(x), y)
  outside = pipeline.Pipeline([("scale", scaler), ("model", model)])
  result = reconstruct(outside, x[1:], y[1:])
  assert result.identifiable and result.message == ""
  np.testing.assert_allclose(result.x, x[0], rtol=1e-5)


X, Y = WINE


@pytest.mark.parametrize(
  "estimator,words",
  [
    (LR(), "not fitted"),
    (svm.SVC().fit(X, Y), "SVC has no closed-form attack"),
    (
      ensemble.RandomForestClassifier(n_estimators=2).fit(X, Y),
      "RandomForestClassifier has no closed-form attack",
    ),
    (linear_model.Perceptron().fit(X, Y), "no record is mistaken"),
    (linear_model.QuantileRegressor().fit(X, Y), "kink"),
    (svm.LinearSVC(loss="hinge").fit(X, Y), "squared_hinge"),
    (linear_model.SGDClassifier().fit(X, Y), "log_loss"),
    (
      multiclass.OneVsRestClassifier(LR(class_weight="balanced")).fit(X, Y),
      "class weights",
    ),
    (svm.LinearSVC(class_weight="balanced").fit(X, Y), "class weights"),
    (
      pipeline.make_pipeline(PCA(2), LR(max_iter=9)).fit(X, Y),
      "cannot be undone",
    ),
    ("LogisticRegression", "not a fitted"),
  ],
)
@pytest.mark.filterwarnings("ignore")
def test_unsupported_estimators_are_one_clear_line(estimator, words):
  with pytest.raises(UserError, match=words) as error:
    reconstruct(estimator, X[1:], Y[1:])
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
  "x,y,words",
  [
    (X[1:, :-1], Y[1:], "13 columns"),
    (X[1:], Y[2:], "records"),
    (np.where(X == X[3, 3], np.nan, X)[1:], Y[1:], "NaN"),
    (X[1:], Y[1:] + 1, "labels"),
  ],
)
@pytest.mark.parametrize(
  "estimator", [LR(max_iter=5000), linear_model.RidgeClassifier()]
)
def test_bad_records_are_one_clear_line(estimator, x, y, words):
  with pytest.raises(UserError, match=words) as error:
    reconstruct(estimator.fit(X, Y), x, y)
  assert "\n" not in str(error.value)
