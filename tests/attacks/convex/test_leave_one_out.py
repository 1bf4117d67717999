"""The audit against one attack a record."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from informed_recon.attacks import sklearn as attack
from informed_recon.attacks.convex import leave_one_out
from informed_recon.types import UserError

EXACT = dict(solver="newton-cholesky", tol=1e-13)


@pytest.mark.parametrize(
  "load, model",
  [
    (load_wine, LogisticRegression(max_iter=1000, **EXACT)),
    (load_diabetes, PoissonRegressor(**EXACT)),
  ],
)
def test_each_record_as_by_an_attack_of_its_own(load, model):
  x, y = load(return_X_y=True)
  y = y // 10 if load is load_diabetes else y
  model = make_pipeline(StandardScaler(), model).fit(x, y)
  found = attack.audit(model, x, y)
  assert len(found) == len(x)
  recovered = 0
  for i in range(0, len(x), 23):
    one = attack.reconstruct(model, np.delete(x, i, 0), np.delete(y, i))
    assert found[i].identifiable == one.identifiable
    if one.identifiable:
      np.testing.assert_allclose(found[i].x, one.x, rtol=1e-6)
      np.testing.assert_allclose(found[i].x, x[i], rtol=1e-5, atol=1e-5)
      np.testing.assert_allclose(found[i].y, y[i], atol=1e-6)
      recovered += 1
  assert recovered > 4


def test_sample_weights_count():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(60, 4)), rng.integers(0, 2, 60)
  weight = rng.uniform(0.5, 2.0, 60)
  model = LogisticRegression(**EXACT).fit(x, y, sample_weight=weight)
  found = leave_one_out.audit(
    *("logistic", model.coef_, model.intercept_, x, y),
    l2=1.0,
    sample_weight=weight,
    chunk=7,
  )
  for i, result in enumerate(found):
    assert result.identifiable, result.message
    np.testing.assert_allclose(result.x, x[i], atol=1e-6)
    assert result.y == y[i]


def test_what_is_refused():
  x, y = load_wine(return_X_y=True)
  bare = LogisticRegression(fit_intercept=False, max_iter=9).fit(x, y)
  with pytest.raises(UserError, match="intercept"):
    attack.audit(bare, x, y)
  weighted = LogisticRegression(class_weight="balanced", max_iter=9).fit(x, y)
  with pytest.raises(UserError, match="class weights"):
    attack.audit(weighted, x, y)
