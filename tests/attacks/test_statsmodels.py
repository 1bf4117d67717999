"""Records out of statsmodels results, checked by the covariance they state."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from informed_recon.attacks.statsmodels import reconstruct
from informed_recon.types import UserError

pytestmark = pytest.mark.filterwarnings("ignore")
F, L = sm.families, sm.families.links
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(90, 3))
X = sm.add_constant(Z)
HIGH = (Z[:, 0] + RNG.logistic(size=90) > 0).astype(int)
CLASS = HIGH + (RNG.random(90) > 0.7)
COUNT = RNG.poisson(np.exp(0.4 * Z[:, 0]))
WAIT = RNG.gamma(2.0, np.exp(0.3 * Z[:, 0]) / 2) + 0.05
WEIGHT = RNG.uniform(0.5, 2.0, 90)
CASES = {
  "OLS": (sm.OLS, WAIT, {}),
  "WLS": (sm.WLS, WAIT, dict(weights=WEIGHT)),
  "Logit": (sm.Logit, HIGH, {}),
  "Probit": (sm.Probit, HIGH, {}),
  "MNLogit": (sm.MNLogit, CLASS, {}),
  "Poisson": (sm.Poisson, COUNT, {}),
  "GLM Gaussian": (sm.GLM, WAIT, dict(family=F.Gaussian())),
  "GLM probit": (sm.GLM, HIGH, dict(family=F.Binomial(L.Probit()))),
  "GLM gamma": (sm.GLM, WAIT, dict(family=F.Gamma(L.Log()))),
  "GLM inverse Gaussian": (
    sm.GLM,
    WAIT,
    dict(family=F.InverseGaussian(L.Log())),
  ),
  "GLM negative binomial": (
    sm.GLM,
    COUNT,
    dict(family=F.NegativeBinomial(alpha=0.7)),
  ),
  "GLM weighted": (
    sm.GLM,
    COUNT,
    dict(family=F.Poisson(), freq_weights=WEIGHT),
  ),
}


def fitted(kind, y, x=X, **given):
  discrete = kind in (sm.Logit, sm.Probit, sm.MNLogit, sm.Poisson)
  return kind(y, x, **given).fit(**(dict(disp=0) if discrete else {}))


def weights(given, i):
  weight = given.get("weights", given.get("freq_weights"))
  if weight is None:
    return {}
  return dict(sample_weight=np.delete(weight, i), target_weight=weight[i])


QUICK = ("OLS", "WLS", "Probit", "MNLogit", "GLM gamma")


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in CASES
  ],
)
def test_recovers_records(name):
  kind, y, given = CASES[name]
  results = fitted(kind, y, **given)
  results.remove_data()  # the attack must not live on what they carry
  for i in (7, 50):
    known = np.delete(X, i, 0), np.delete(y, i)
    found = reconstruct(results, *known, **weights(given, i))
    if not name.startswith("GLM"):  # whose fits stop earlier by default
      assert found.identifiable and found.checked, found.message
    np.testing.assert_allclose(found.x, X[i], atol=1e-2)
    np.testing.assert_allclose(found.y, y[i], atol=1e-2)
    # Two standard errors, and what float64 itself leaves.
    off, stated = np.linalg.norm(found.x - X[i]), np.linalg.norm(found.error)
    assert off <= 2 * stated + 1e-11


def test_the_covariance_checks_what_weights_alone_do_not():
  """Coefficients of a weighted fit in results that say they are of OLS."""
  results, known = fitted(sm.OLS, WAIT), (X[1:], WAIT[1:])
  results._results.params = fitted(sm.WLS, WAIT, weights=WEIGHT).params
  assert not reconstruct(results, *known).identifiable
  results = fitted(sm.OLS, WAIT)
  results._results.normalized_cov_params = None
  found = reconstruct(results, *known)
  assert not found.checked and "not checked" in found.message


def test_tables_with_named_columns():
  table = pd.DataFrame(X, columns=["const", "a", "b", "c"])
  results = fitted(sm.OLS, WAIT, table)
  found = reconstruct(results, table.iloc[1:], WAIT[1:])
  np.testing.assert_allclose(found.x, X[0], atol=1e-6)
  with pytest.raises(UserError, match="columns of exog"):
    reconstruct(results, table[["const", "b", "a", "c"]][1:], WAIT[1:])


@pytest.mark.parametrize(
  "results,words",
  [
    (lambda: fitted(sm.WLS, WAIT, weights=WEIGHT), "sample_weight"),
    (lambda: sm.OLS(WAIT, X).fit_regularized(), "penalty"),
    (lambda: sm.RLM(WAIT, X).fit(), "RLM has no closed-form attack"),
    (lambda: fitted(sm.Poisson, COUNT, offset=WEIGHT), "offset"),
    (lambda: "OLS", "no statsmodels results"),
  ],
)
def test_what_cannot_be_read_says_why(results, words):
  with pytest.raises(UserError, match=words) as error:
    reconstruct(results(), X[1:], WAIT[1:])
  assert "\n" not in str(error.value)
