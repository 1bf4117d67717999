"""Fits of many targets at once, against one by one, and what they give away."""

import numpy as np
import pytest

from informed_recon.attacks.convex import fitting
from informed_recon.attacks.convex.closed_form import reconstruct_many
from informed_recon.attacks.convex.fitting_many import make_fit_many


def records(K, n=90, d=6, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(n, d))
  h = x @ rng.normal(size=(d, K))
  return rng, x, np.argmax(h + rng.gumbel(size=h.shape), axis=1)


@pytest.mark.parametrize("intercept", [True, False])
def test_many_equals_one_by_one(intercept):
  _, x, y = records(3)
  Y = fitting.encode("softmax", y, 3)
  # An outlier among the targets moves everybody else's curvature.
  targets, labels = x[80:].copy(), Y[80:]
  targets[0] *= 20.0
  options = dict(l2=0.05, intercept=intercept)
  fit_many = make_fit_many("softmax", x[:80], Y[:80], chunk=4, **options)
  many = fit_many(targets, labels)
  assert np.all(many.gradient < 1e-9)
  for i in range(len(targets)):
    one = fitting.fit(
      "softmax",
      np.vstack([x[:80], targets[i]]),
      np.vstack([Y[:80], labels[i]]),
      **options,
    )
    np.testing.assert_allclose(many.weights[i], one.weights, atol=1e-9)


@pytest.mark.parametrize("family,K", [("softmax", 4), ("logistic", 2)])
def test_every_target_comes_back(family, K):
  _, x, y = records(K, n=120)
  Y = fitting.encode(family, y, K)
  many = make_fit_many(family, x[:60], Y[:60], l2=0.1)(x[60:], Y[60:])
  results = reconstruct_many(
    family, many.weights, many.intercept, x[:60], y[:60], l2=0.1
  )
  for result, truth, label in zip(results, x[60:], y[60:], strict=True):
    assert result.identifiable, result.message
    np.testing.assert_allclose(result.x, truth, atol=1e-6)
    assert result.y == label
