"""Metrics against hand values and slow plain versions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from informed_recon.evaluation import metrics


def _uniform(x):
  return np.log(np.full((len(x), 4), 0.25))


def test_errors_by_hand():
  truth = np.zeros((2, 2, 2, 1), np.float32)
  guess = truth.copy()
  guess[0, 0, 0] = 1.0  # one pixel of four wrong by one
  guess[1] = 0.5
  errors = metrics.per_target(truth, guess, _uniform)
  np.testing.assert_allclose(errors["mse"], [0.25, 0.25])
  np.testing.assert_allclose(errors["mae"], [0.25, 0.5])
  np.testing.assert_allclose(errors["psnr"], [-10 * np.log10(0.25)] * 2)
  np.testing.assert_allclose(errors["kl"], 0, atol=1e-12)
  assert all(v.shape == (2,) for v in errors.values())


def test_identical_images():
  x = np.random.default_rng(0).uniform(size=(3, 12, 12, 3)).astype(np.float32)
  errors = metrics.per_target(x, x.copy(), _uniform)
  np.testing.assert_array_equal(errors["mse"], 0)
  np.testing.assert_allclose(errors["psnr"], 120)
  np.testing.assert_allclose(errors["ssim"], 1, atol=1e-6)


def test_records_that_are_no_images_have_no_ssim():
  truth = np.zeros((3, 5), np.float32)
  errors = metrics.per_target(truth, truth + 0.1, _uniform)
  assert np.isnan(errors["ssim"]).all() and errors["ssim"].shape == (3,)
  np.testing.assert_allclose(errors["mse"], 0.01, rtol=1e-5)


def test_kl_by_hand():
  """KL(truth || guess) in nats, in this direction."""
  log_p = {0.0: np.log([0.5, 0.5]), 1.0: np.log([0.9, 0.1])}

  def classify(x):
    return np.stack([log_p[float(v)] for v in x.ravel()])

  truth, guess = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
  kl = metrics.per_target(truth, guess, classify)["kl"]
  forward = 0.5 * np.log(0.5 / 0.9) + 0.5 * np.log(0.5 / 0.1)
  backward = 0.9 * np.log(0.9 / 0.5) + 0.1 * np.log(0.1 / 0.5)
  np.testing.assert_allclose(kl, [forward, backward], rtol=1e-6)
  np.testing.assert_allclose(kl, [0.510826, 0.368064], atol=1e-6)


def _slow_ssim(a, b, window, sigma=1.5, k1=0.01, k2=0.03):
  """Wang et al. (2004), eq. 13, for one channel with a peak of 1: mean over
  the positions where the Gaussian window fits."""
  at = np.arange(window) - (window - 1) / 2
  g = np.exp(-(at**2) / (2 * sigma**2))
  weights = np.outer(g, g) / np.outer(g, g).sum()
  values = []
  for i in range(a.shape[0] - window + 1):
    for j in range(a.shape[1] - window + 1):
      p = a[i : i + window, j : j + window]
      q = b[i : i + window, j : j + window]
      mean_p, mean_q = (weights * p).sum(), (weights * q).sum()
      var_p = (weights * (p - mean_p) ** 2).sum()
      var_q = (weights * (q - mean_q) ** 2).sum()
      cov = (weights * (p - mean_p) * (q - mean_q)).sum()
      values.append(
        (2 * mean_p * mean_q + k1**2)
        * (2 * cov + k2**2)
        / (mean_p**2 + mean_q**2 + k1**2)
        / (var_p + var_q + k2**2)
      )
  return np.mean(values)


@pytest.mark.parametrize(
  "shape, window", [((14, 13, 1), 11), ((8, 8, 1), 7), ((12, 12, 3), 11)]
)
def test_ssim_against_a_slow_version(shape, window):
  rng = np.random.default_rng(0)
  truth = rng.uniform(size=(3, *shape)).astype(np.float32)
  noise = rng.normal(0, 0.2, truth.shape)
  guess = (truth + noise).clip(0, 1).astype(np.float32)
  ours = metrics.per_target(truth, guess, _uniform)["ssim"]
  for i in range(3):
    channels = [
      _slow_ssim(truth[i, ..., c], guess[i, ..., c], window)
      for c in range(shape[-1])
    ]
    assert ours[i] == pytest.approx(np.mean(channels), abs=1e-4)
  assert (ours < 0.98).all()


def test_mean_interval_covers_the_truth_as_often_as_it_says():
  """95% within what 300 trials of 60 skewed values let one expect."""
  rng = np.random.default_rng(0)
  covered = below = 0
  for _ in range(300):
    values = rng.exponential(size=60)
    mean, (low, high) = metrics.mean_ci95(values)
    assert low < mean < high and mean == values.mean()
    covered += low <= 1.0 <= high
    # Negative control: half the interval.
    below += abs(mean - 1.0) <= (high - low) / 4
  assert 0.89 <= covered / 300 <= 0.98
  assert below / 300 < 0.8


def test_bootstrap_level_and_seed():
  values = np.arange(50.0)

  def interval(**settings):
    return metrics.bootstrap(lambda i: values[i].mean(), 50, **settings)

  assert interval() == interval()
  assert interval() != interval(seed=1)
  wide, narrow = interval(), interval(level=0.5)
  assert wide[0] < narrow[0] < narrow[1] < wide[1]


@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 4))
def test_pairwise_mse_is_brute_force(m, n, block):
  rng = np.random.default_rng(m * 10 + n)
  a, b = rng.uniform(size=(m, 2, 3)), rng.uniform(size=(n, 2, 3))
  ours = metrics.pairwise_mse(a, b, block=block)
  slow = [[np.mean((p - q) ** 2) for q in b] for p in a]
  np.testing.assert_allclose(ours, slow, atol=1e-6)
  assert ours.dtype == np.float32


def test_pairwise_mse_is_never_negative():
  a = np.random.default_rng(0).uniform(size=(100, 784))
  itself = np.diag(metrics.pairwise_mse(a, a))
  assert (itself >= 0).all() and itself.max() < 1e-6


def test_kl_of_nearly_equal_outputs_is_not_negative():
  """Log-probabilities in float32 do not sum to 1 by themselves."""
  rng = np.random.default_rng(0)
  logits = rng.normal(size=(200, 10)).astype(np.float32)
  near = logits + rng.normal(size=logits.shape).astype(np.float32) * 1e-6
  log_p, log_q = (
    x - np.log(np.exp(x).sum(1, keepdims=True)) for x in (logits, near)
  )
  assert metrics._kl(log_p, log_q).min() >= 0
