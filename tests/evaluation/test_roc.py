"""TPR at a fixed FPR on constructed errors, and who is compared with whom."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from informed_recon.evaluation import roc, scoring


def _slow_tpr(own, null, fpr):
  """Every threshold that can matter, by its definition."""
  best = 0.0
  for tau in [-1.0, *own, *null.ravel()]:
    if np.mean(null <= tau) <= fpr:
      best = max(best, np.mean(own <= tau))
  return best


FEW = st.integers(0, 6).map(lambda i: i / 6)  # ties are the rule


@given(
  st.lists(FEW, min_size=1, max_size=8),
  st.lists(FEW, min_size=1, max_size=12),
  st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]),
)
def test_tpr_is_the_largest_allowed(own, null, fpr):
  own, null = np.array(own), np.array(null)[None]
  assert roc.tpr_at_fpr(own, null, fpr) == _slow_tpr(own, null, fpr)


def test_constructed_distributions():
  own, null = np.linspace(0, 0.5, 100), np.linspace(0.6, 1, 10_000)
  assert roc.tpr_at_fpr(own, null, 0.01) == 1.0  # separated
  assert roc.tpr_at_fpr(null, own, 0.01) == 0.0  # the wrong way round
  same = np.full(100, 0.3)
  assert roc.tpr_at_fpr(same, same, 0.01) == 0.0  # all tied: no threshold
  # Half leaks, half is chance: the half and 1% of the rest.
  chance = np.linspace(0, 1, 10_000)
  half = np.concatenate([np.full(5000, -1.0), np.linspace(0, 1, 5000)])
  assert roc.tpr_at_fpr(half, chance, 0.01) == pytest.approx(0.505, abs=1e-3)


def test_chance_level_is_the_fpr():
  rng = np.random.default_rng(0)
  own, null = rng.uniform(size=20_000), rng.uniform(size=(200, 200))
  for fpr in (0.01, 0.1, 0.5):
    assert roc.tpr_at_fpr(own, null, fpr) == pytest.approx(fpr, abs=0.01)


def test_errors_pair_each_target_with_other_weights(monkeypatch):
  rng = np.random.default_rng(0)
  truth, guess = rng.uniform(size=(2, 7, 3, 3, 1))
  own, null = roc.errors(truth, guess)
  matrix = ((truth[:, None] - guess[None]) ** 2).mean((2, 3, 4))
  np.testing.assert_allclose(own, np.diag(matrix), atol=1e-6)
  others = [np.delete(matrix[i], i) for i in range(7)]
  np.testing.assert_allclose(np.sort(null), np.sort(others), atol=1e-6)
  # Fewer nulls: still never its own, and spread over the others.
  monkeypatch.setattr(roc, "MAX_NULLS", 3)
  _, few = roc.errors(truth, guess)
  assert few.shape == (7, 3)
  for i in range(7):
    distance = np.abs(few[i][:, None] - others[i][None])
    assert len(set(distance.argmin(1))) == 3 and distance.min(1).max() < 1e-6


def test_interval_resamples_targets():
  """Errors that come in two kinds of targets: the interval must show it."""
  own = np.concatenate([np.zeros(10), np.ones(10)])
  null = np.full((20, 50), 0.5)
  low, high = roc.tpr_at_fpr_ci95(own, null, 0.01)
  assert roc.tpr_at_fpr(own, null, 0.01) == 0.5
  assert 0.2 < low < 0.4 and 0.6 < high < 0.8


def test_curve_passes_through_the_reported_points():
  rng = np.random.default_rng(0)
  own, null = rng.uniform(0, 0.8, 50), rng.uniform(size=(50, 40))
  own, null = own.round(2), null.round(2)  # with ties
  fprs, tprs = roc.curve(own, null)
  assert fprs[0] == pytest.approx(1 / 2000) and fprs[-1] == tprs[-1] == 1
  assert (np.diff(fprs) > 0).all() and (np.diff(tprs) >= 0).all()
  for fpr, tpr in zip(fprs[:-1], tprs[:-1]):
    assert tpr == roc.tpr_at_fpr(own, null, fpr)


def test_one_target_alone_tells_nothing():
  """No other's weights are there: no rate, and none that reads as a success."""
  one = np.zeros((1, 4), np.float32)
  assert np.isnan(roc.tpr_at_fpr(*roc.errors(one, one), 0.01))
  assert scoring.recognised(one, one, [0.01]) == {}
