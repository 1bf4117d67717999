"""Fits to the optimum against scikit-learn."""

import jax
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

from informed_recon.attacks.convex import fitting


def records(K, n=90, d=6, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(n, d))
  h = x @ rng.normal(size=(d, K))
  return rng, x, np.argmax(h + rng.gumbel(size=h.shape), axis=1)


@pytest.mark.parametrize("K", [2, 4])
def test_logistic_and_softmax_agree_with_sklearn(K):
  assert not jax.config.jax_enable_x64
  _, x, y = records(K)
  reference = LogisticRegression(
    C=2.0, solver="newton-cholesky", tol=1e-13, max_iter=1000
  ).fit(x, y)
  family = "logistic" if K == 2 else "softmax"
  fitted = fitting.fit(family, x, fitting.encode(family, y, K), l2=0.5)
  assert fitted.weights.dtype == np.float64
  assert fitted.gradient < 1e-12
  np.testing.assert_allclose(fitted.weights, reference.coef_, atol=1e-8)
  shift = fitted.intercept - reference.intercept_
  np.testing.assert_allclose(shift, shift[0], atol=1e-8)


def test_linear_and_poisson_agree_with_sklearn():
  rng, x, _ = records(2)
  y = x[:, 0] + rng.normal(size=len(x))
  fitted = fitting.fit("linear", x, fitting.encode("linear", y), l2=3.0)
  ridge = Ridge(alpha=3.0).fit(x, y)
  np.testing.assert_allclose(fitted.weights[0], ridge.coef_, atol=1e-10)
  np.testing.assert_allclose(fitted.intercept[0], ridge.intercept_, atol=1e-10)
  y = rng.poisson(np.exp(0.5 * x[:, 0]))
  fitted = fitting.fit("poisson", x, fitting.encode("poisson", y), l2=3.0)
  reference = PoissonRegressor(
    alpha=3.0 / len(x), solver="newton-cholesky", tol=1e-13
  ).fit(x, y)
  np.testing.assert_allclose(fitted.weights[0], reference.coef_, atol=1e-9)
