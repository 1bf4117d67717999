"""Records from coefficients with noise, between exact and hopeless."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from informed_recon.attacks.convex import closed_form, fitting, noisy
from informed_recon.types import UserError

L2 = 0.1


def problem():
  """Softmax regression on a part of the digits, the target left out."""
  x, y = load_digits(return_X_y=True)
  x, y = x[:200, 18:46] / 16, y[:200]
  model = fitting.fit("softmax", x, fitting.encode("softmax", y, 10), l2=L2)
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


IRIS = load_iris(return_X_y=True)


def iris_released(noise, weight=1):
  """What was released of a fit with record 15 `weight` times, the known
  records, and the record."""
  x, y = IRIS
  every, target = np.append(np.arange(len(x)), np.full(weight - 1, 15)), 15
  codes = fitting.encode("softmax", y[every], 3)
  model = fitting.fit("softmax", x[every], codes, l2=L2)
  rng = np.random.default_rng(0)
  released = [
    w + noise * rng.normal(size=w.shape)
    for w in (model.weights, model.intercept)
  ]
  return released, np.delete(x, target, 0), np.delete(y, target), x[target]


def answer(released, *known, noise, **told):
  shared = noisy.prepare("softmax", *released, *known, noise, l2=L2, **told)
  return noisy.reconstruct(shared, *released)


def test_a_weight_of_the_target():
  """Told, it counts; untold, nobody is misled."""
  *given, target = iris_released(1e-7, weight=2)
  told = answer(*given, noise=1e-7, target_weight=2)
  assert told.identifiable, told.message
  np.testing.assert_allclose(told.x, target, atol=1e-3)
  untold = answer(*given, noise=1e-7)
  assert np.abs(untold.x - target).max() > 0.1
  assert not untold.identifiable and "no record explains" in untold.message


def test_sample_weights_are_as_good_as_copies():
  released, x, y, _ = iris_released(1e-5)
  shared = noisy.prepare(
    "softmax", *released, x, y, 1e-5, l2=L2, sample_weight=2 * np.ones(len(x))
  )
  twice = np.repeat(x, 2, 0), np.repeat(y, 2)
  same = noisy.prepare("softmax", *released, *twice, 1e-5, l2=L2)
  np.testing.assert_allclose(shared.noise[1], same.noise[1], rtol=1e-6)


def test_a_known_label():
  *given, target = iris_released(1e-7)
  right = answer(*given, noise=1e-7, known_label=0, label_set=range(3))
  assert right.identifiable and right.y == 0
  np.testing.assert_allclose(right.x, target, atol=1e-3)
  wrong = answer(*given, noise=1e-7, known_label=1, label_set=range(3))
  assert not wrong.identifiable


def test_one_equation_to_spare_is_no_proof():
  """Some binary models whose records were weighted agree with the objective
  stated up to the noise by chance."""
  x, y = IRIS[0][50:, :2], IRIS[1][50:] - 1
  rng, noise, agree = np.random.default_rng(0), 1e-3, 0
  for _ in range(20):
    every = np.append(np.arange(len(x)), rng.choice(len(x), 10))
    codes = fitting.encode("logistic", y[every])
    model = fitting.fit("logistic", x[every], codes, l2=L2)
    released = [
      w + noise * rng.normal(size=w.shape)
      for w in (model.weights, model.intercept)
    ]
    shared = noisy.prepare("logistic", *released, x[1:], y[1:], noise, l2=L2)
    found = noisy.reconstruct(shared, *released)
    assert not found.identifiable
    agree += "noise hides whether" in found.message
  assert agree


def test_a_class_of_few_records_has_a_small_share():
  x, y = IRIS
  keep = np.flatnonzero((y != 2) | (np.arange(len(y)) == 149))
  shared = noisy.prepare(
    *("softmax", np.ones((3, 4)), np.zeros(3), x[keep], y[keep], 1.0), l2=L2
  )
  whole = np.sum(np.log(np.linalg.svd(shared.priors[2].whiten)[1]))
  assert shared.priors[2].log_prior - whole == pytest.approx(np.log(1 / 101))


def test_what_is_refused():
  x, y, model = problem()
  released = model.weights, model.intercept
  with pytest.raises(UserError, match="noise"):
    noisy.prepare("softmax", *released, x, y, 0.0)
  with pytest.raises(UserError, match="three known"):
    noisy.prepare("softmax", *released, x[:0], y[:0], 1.0, label_set=range(10))
  with pytest.raises(UserError, match="do not determine"):
    noisy.prepare("softmax", *released, x, y, 1.0)  # empty pixels
  with pytest.raises(UserError, match="labels"):
    noisy.prepare("linear", x[0], 0.0, x, x[:, 0], 1.0)
