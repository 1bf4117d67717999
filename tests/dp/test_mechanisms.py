"""Mechanisms beside DP-SGD, against the same release written out."""

import dp_accounting
import numpy as np
import pytest
from scipy import stats

from informed_recon.dp import accounting, mechanisms

DELTA = 1e-5


def test_without_correlation_a_matrix_mechanism_is_one_step():
  """Each record takes part once: as one full batch of its own."""
  event = mechanisms.matrix_event(np.eye(50), 2.0)
  expected = accounting.dpsgd_epsilon(2.0, 1.0, 1, DELTA)
  assert mechanisms.epsilon_of(event, DELTA) == pytest.approx(expected)


def test_a_matrix_mechanism_is_its_worst_likelihood_ratio():
  """Played: a record in step t moves the noise's argument by column t."""
  rng = np.random.default_rng(0)
  for _ in range(20):
    steps, sigma = 6, rng.uniform(1, 4)
    c = np.tril(rng.normal(size=(steps, steps)), 0)
    c[np.diag_indices(steps)] = rng.uniform(0.5, 2, steps)
    found = mechanisms.epsilon_of(mechanisms.matrix_event(c, sigma), DELTA)
    covariance = sigma**2 * np.linalg.inv(c) @ np.linalg.inv(c).T
    worst = max(
      np.sqrt(e @ np.linalg.solve(covariance, e)) for e in np.eye(steps)
    )
    epsilon = np.linspace(0, 40, 40_001)
    delta = stats.norm.cdf(worst / 2 - epsilon / worst) - np.exp(
      epsilon
    ) * stats.norm.cdf(-worst / 2 - epsilon / worst)
    assert found == pytest.approx(epsilon[np.argmax(delta <= DELTA)], abs=2e-3)


def test_replacing_counts_double():
  found = mechanisms.epsilon_of(mechanisms.replace_one_event(8.0, 9), DELTA)
  assert found == pytest.approx(accounting.dpsgd_epsilon(4.0, 1.0, 9, DELTA))


def test_other_events_are_the_library_s_own():
  event = dp_accounting.PoissonSampledDpEvent(
    0.1, dp_accounting.GaussianDpEvent(1.0)
  )
  found = mechanisms.epsilon_of(event, DELTA)
  expected = accounting.dpsgd_epsilon(1.0, 0.1, 1, DELTA)
  assert found == pytest.approx(expected, rel=5e-3)
  with pytest.raises(ValueError, match="no privacy loss distribution"):
    mechanisms.epsilon_of(dp_accounting.UnsupportedDpEvent(), DELTA)


@pytest.mark.parametrize(
  "strategy", [np.ones((2, 3)), np.ones((2, 2)), np.zeros((2, 2)), [1.0]]
)
def test_no_such_strategy(strategy):
  with pytest.raises(ValueError, match="strategy must be square, lower"):
    mechanisms.matrix_event(strategy, 1.0)
