"""Limits on epsilon: coverage, power, and silence where there is no signal."""

import functools
import math

import numpy as np
import pytest
from scipy import stats

from informed_recon.dp import accounting, audit, bounds, converse, one_run

DELTA, LEVEL, TRIALS, REPEATS = 1e-5, 0.95, 500, 2000


def _epsilon(mu):
  return accounting.dpsgd_epsilon(1 / mu, 1.0, 1, DELTA)


def _errors_are_nominal(errors, repeats, nominal):
  """Not more errors than nominal, beyond chance."""
  return stats.binomtest(errors, repeats, nominal, "greater").pvalue > 1e-3


@pytest.mark.parametrize("mu", [0.0, 1.0, 3.0])
@pytest.mark.parametrize(("named", "m"), [(1, 8), (1, 100), (10, 100)])
def test_identification_covers_and_comes_close(mu, named, m):
  """Of m candidates some are named, and the target is among them or not."""
  kappa, truth = named / m, _epsilon(mu) if mu else 0.0
  success = bounds.gaussian_upper(kappa, mu)
  counts = np.random.default_rng(0).binomial(TRIALS, success, REPEATS)
  limit = functools.cache(
    lambda k: audit.gdp_epsilon_lower(k, TRIALS, kappa, DELTA)
  )
  found = np.array([limit(int(k)) for k in counts])
  assert _errors_are_nominal(int(np.sum(found > truth)), REPEATS, 1 - LEVEL)
  if mu:
    # One of 100 is right in 9% at mu = 1, and 500 trials tell less.
    assert np.median(found) >= (0.84 if kappa < 0.1 else 0.85) * truth
    assumption_free = converse.epsilon_lower(
      int(np.median(counts)), TRIALS, kappa, DELTA
    )
    assert assumption_free < 0.6 * truth


@pytest.mark.parametrize("mu", [0.0, 1.0, 3.0])
def test_scores_cover_and_come_close(mu):
  truth, rng = _epsilon(mu) if mu else 0.0, np.random.default_rng(1)
  repeats = 500
  by_ranks, by_threshold = np.array([
    [
      audit.gdp_rank_epsilon_lower(a, b, DELTA),
      audit.threshold_epsilon_lower(a, b, DELTA),
    ]
    for a, b in (
      (rng.normal(mu, 1, TRIALS), rng.normal(size=TRIALS))
      for _ in range(repeats)
    )
  ]).T  # fmt: skip
  for found in (by_ranks, by_threshold):
    assert _errors_are_nominal(int(np.sum(found > truth)), repeats, 1 - LEVEL)
  if mu:
    assert np.median(by_ranks) >= 0.85 * truth
    assert np.median(by_threshold) < np.median(by_ranks)
  else:
    # Silent at the nominal rate, and not by being silent always.
    assert 0.02 < np.mean(by_ranks > 0) < 0.08


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_records_proves_little(count):
  """However clear the scores; and never more than is true."""
  members, others = np.full(count, 1e6), np.zeros(count)
  assert audit.threshold_epsilon_lower(members, others) < 1.5
  if count <= 2:
    assert audit.threshold_epsilon_lower(members, others) == 0
    assert audit.gdp_rank_epsilon_lower(members, others, DELTA) == 0
  rng, mu, repeats = np.random.default_rng(2), 1.0, 400
  wrong = sum(
    audit.gdp_rank_epsilon_lower(
      rng.normal(mu, 1, count), rng.normal(size=count), DELTA
    )
    > _epsilon(mu)
    for _ in range(repeats)
  )
  assert _errors_are_nominal(wrong, repeats, 1 - LEVEL)


def test_beyond_epsilon_ten_what_assumes_nothing_saturates():
  perfect = np.arange(500) + 1e6, np.arange(500)
  free = audit.threshold_epsilon_lower(*perfect)
  assert 3 < free < math.log(500)
  assert 10 < audit.gdp_rank_epsilon_lower(*perfect, DELTA) < math.inf
  assert audit.gdp_epsilon_lower(500, 500, 0.01, DELTA) > 20


def test_ties_are_no_signal():
  for scores in (np.zeros(100), np.repeat([0.0, 1.0], 50)):
    assert audit.threshold_epsilon_lower(scores, scores) == 0
    assert audit.gdp_rank_epsilon_lower(scores, scores, DELTA) < 1


def test_one_run_covers_and_is_silent_without_signal():
  """Randomised response attains the worst case of pure privacy."""
  m, repeats, rng = 1000, 1000, np.random.default_rng(3)
  for epsilon in (0.0, 1.0, 4.0):
    right = rng.binomial(m, 1 / (1 + math.exp(-epsilon)), repeats)
    limit = functools.cache(lambda v: one_run.epsilon_lower(m, m, v))
    found = np.array([limit(int(v)) for v in right])
    assert _errors_are_nominal(int(np.sum(found > epsilon)), repeats, 0.05)
    assert np.median(found) >= 0.8 * epsilon
  assert one_run.epsilon_lower(1000, 200, 100) == 0
  assert one_run.gdp_epsilon_lower(1000, 200, 100, DELTA) == 0
  with_delta = one_run.epsilon_lower(1000, 200, 190, 1e-4)
  assert with_delta < one_run.epsilon_lower(1000, 200, 190)


def test_one_run_under_a_gaussian_trade_off():
  """Independent canaries, each seen through Gaussian noise of its own."""
  m, mu, repeats, rng = 2000, 1.0, 1000, np.random.default_rng(4)
  inside = rng.random((repeats, m)) < 0.5
  scores = rng.standard_normal((repeats, m)) + mu * inside - mu / 2
  for guesses in (200, m):
    order = np.argsort(-np.abs(scores), axis=1)[:, :guesses]
    right = np.take_along_axis((scores > 0) == inside, order, 1).sum(1)
    limit = functools.cache(
      lambda v, r=guesses: one_run.gdp_epsilon_lower(m, r, v, DELTA)
    )
    found = np.array([limit(int(v)) for v in right])
    assert _errors_are_nominal(int(np.sum(found > _epsilon(mu))), repeats, 0.05)
    assert np.median(found) > 0.25 * _epsilon(mu)


def test_dpsgd_inversion_meets_the_gaussian_one_and_the_draws():
  for k in (5, 60, 99):
    assert audit.dpsgd_epsilon_lower(
      k, 100, 0.02, 1.0, 30, DELTA
    ) == pytest.approx(audit.gdp_epsilon_lower(k, 100, 0.02, DELTA), rel=1e-3)
  # A record is drawn in 10% of the runs: no noise explains a success of 90%.
  rare = audit.dpsgd_epsilon_lower(95, 100, 0.01, 0.001, 100, DELTA)
  assert rare == np.inf
  sampled = audit.dpsgd_epsilon_lower(300, 500, 0.125, 0.3, 10, DELTA)
  sigma = 0.9
  success = bounds.dpsgd_upper(0.125, sigma, 0.3, 10)
  assert success < 0.99 and 0 < sampled < 20


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: audit.gdp_epsilon_lower(1, 2, 0.0, DELTA), "kappa must lie in"),
    (lambda: audit.gdp_epsilon_lower(1, 2, 0.1, 0.0), r"delta .* \(0, 1\)"),
    (lambda: audit.gdp_epsilon_lower(3, 2, 0.1, DELTA), "successes must lie"),
    (lambda: audit.threshold_epsilon_lower([], [1.0]), "members must be a row"),
    (lambda: audit.threshold_epsilon_lower([1.0], [np.nan]), "others must be"),
    (lambda: one_run.epsilon_lower(10, 11, 5), "guesses must lie"),
    (lambda: one_run.epsilon_lower(10, 5, 6), "correct must lie"),
    (lambda: one_run.gdp_epsilon_lower(10, 5, 5, 0.0), "delta must lie"),
  ],
)
def test_bad_input_names_the_argument(call, message):
  with pytest.raises(ValueError, match=message):
    call()
