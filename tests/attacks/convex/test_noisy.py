"""Records from coefficients with noise, between exact and hopeless."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from informed_recon.attacks.convex import closed_form, noisy
from informed_recon.attacks.convex import fitting as training
from informed_recon.types import UserError

L2 = 0.1


def problem():
  """Softmax regression on a part of the digits, the target left out."""
  x, y = load_digits(return_X_y=True)
  x, y = x[:200, 18:46] / 16, y[:200]
  model = training.fit("softmax", x, training.encode("softmax", y, 10), l2=L2)
  return x, y, model


def test_with_little_noise_it_attains_the_floor():
  x, y, model = problem()
  target, rng = 7, np.random.default_rng(0)
  known = np.delete(x, target, 0), np.delete(y, target)
  released = model.weights, model.intercept
  noise = 1e-6
  shared = noisy.prepare("softmax", *released, *known, noise, l2=L2)
  floor = noisy.fisher_mse(shared, x[target], y[target], *released)
  errors, naive = [], []
  for _ in range(8):
    released_noisy = [w + noise * rng.normal(size=w.shape) for w in released]
    found = noisy.reconstruct(shared, *released_noisy)
    assert found.identifiable, found.message
    assert found.y == y[target]
    errors.append(np.mean((found.x - x[target]) ** 2))
    direct = closed_form.reconstruct("softmax", *released_noisy, *known, l2=L2)
    naive.append(np.mean((direct.x - x[target]) ** 2))
  assert np.mean(errors) < 2 * floor
  assert np.mean(errors) < np.mean(naive) / 10


def test_with_much_noise_it_says_so():
  x, y, model = problem()
  known = np.delete(x, 7, 0), np.delete(y, 7)
  rng = np.random.default_rng(0)
  released_noisy = [
    w + rng.normal(size=w.shape) for w in (model.weights, model.intercept)
  ]
  shared = noisy.prepare("softmax", *released_noisy, *known, 1.0, l2=L2)
  found = noisy.reconstruct(shared, *released_noisy)
  assert not found.identifiable
  assert "noise" in found.message


def test_the_floor_grows_with_the_noise():
  x, y, model = problem()
  known = np.delete(x, 7, 0), np.delete(y, 7)
  released = model.weights, model.intercept
  floors = [
    noisy.fisher_mse(
      noisy.prepare("softmax", *released, *known, noise, l2=L2),
      *(x[7], y[7], *released),
    )
    for noise in (1e-4, 1e-3)
  ]
  np.testing.assert_allclose(floors[1] / floors[0], 100, rtol=1e-6)


def test_what_is_refused():
  x, y, model = problem()
  released = model.weights, model.intercept
  with pytest.raises(UserError, match="noise"):
    noisy.prepare("softmax", *released, x, y, 0.0)
  with pytest.raises(UserError, match="labels"):
    noisy.prepare("linear", x[0], 0.0, x, x[:, 0], 1.0)
