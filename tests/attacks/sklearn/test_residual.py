"""What a stopped solver leaves behind, learned from shadow models."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from informed_recon.attacks import sklearn as attack
from informed_recon.attacks.sklearn import residual
from informed_recon.types import UserError


def records(target):
  """Digits with the target last, at a quarter of their columns."""
  x, y = load_digits(return_X_y=True)
  x, y = x[:250, 24:40], y[:250]
  order = np.append(np.delete(np.arange(len(x)), target), target)
  return x[order], y[order]


@pytest.mark.parametrize("solver", ["newton-cg", "lbfgs"])
def test_default_tolerance(solver):
  trusted = 0
  for target in range(1):
    x, y = records(target)
    model = make_pipeline(MinMaxScaler(), LogisticRegression(solver=solver))
    model.fit(x, y)
    direct = attack.reconstruct(model, x[:-1], y[:-1])
    result = residual.reconstruct(model, x[:-1], y[:-1], shadows=150)
    before, after = (
      np.sqrt(np.mean((r.x - x[-1]) ** 2)) / 16 for r in (direct, result)
    )
    assert not direct.identifiable
    assert after < before / 3
    assert len(result.candidates) == 10
    if result.identifiable:
      trusted += 1
      assert after < 0.05
      assert result.y == y[-1]
  assert trusted >= 1


def test_a_model_of_other_records_is_not_trusted():
  x, y = records(0)
  model = LogisticRegression(solver="newton-cg").fit(x / 16, y)
  # The adversary's known set lacks ten records besides the target.
  result = residual.reconstruct(model, x[:-11] / 16, y[:-11], shadows=100)
  assert not result.identifiable
  assert "no record explains" in result.message


def test_what_is_refused():
  x, y = records(0)
  regression = PoissonRegressor().fit(x, y)
  with pytest.raises(UserError, match="classifiers"):
    residual.reconstruct(regression, x[:-1], y[:-1])
  weighted = LogisticRegression(class_weight="balanced").fit(x, y)
  with pytest.raises(UserError, match="class weights"):
    residual.reconstruct(weighted, x[:-1], y[:-1])
