"""The planner against closed forms, and against the bound it inverts."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from informed_recon.dp import accounting, bounds, planner, sampling

DELTA = 1e-5


@given(
  log_kappa=st.floats(-900, math.log(0.9)),
  goal=st.floats(0.001, 0.999),
  steps=st.integers(1, 10_000),
)
def test_full_batch_inverts_the_gaussian_bound(log_kappa, goal, steps):
  if math.log(goal) < log_kappa + 1e-3:
    return
  mu = special.ndtri(goal) - special.ndtri_exp(log_kappa)
  found = planner.plan(goal, 1.0, steps, DELTA, log_kappa=log_kappa)
  sigma = found.noise_multiplier
  assert sigma == pytest.approx(math.sqrt(steps) / mu, rel=1e-6)
  back = bounds.gaussian_upper(mu=steps**0.5 / sigma, log_kappa=log_kappa)
  assert back == pytest.approx(found.success_upper)
  assert found.success_upper <= goal


@pytest.mark.parametrize("kappa", [0.125, 1e-6])
@pytest.mark.parametrize("goal", [0.3, 0.98])
@pytest.mark.parametrize("q, steps", [(1.0, 100), (0.01, 1000), (0.5, 20)])
def test_the_bound_holds_at_the_answer_and_just_below_it_no_more(
  kappa, goal, q, steps
):
  found = planner.plan(goal, q, steps, DELTA, kappa)
  sigma = found.noise_multiplier
  assert bounds.dpsgd_upper(kappa, sigma, q, steps) == found.success_upper
  assert found.success_upper <= goal
  less = sigma / (1 + 2 * planner.PRECISION)
  assert bounds.dpsgd_upper(kappa, less, q, steps) > goal
  assert found.epsilon == accounting.dpsgd_epsilon(sigma, q, steps, DELTA)
  assert 0 < found.membership_advantage_upper < 1


def test_goals_below_the_floor_of_the_deltas_are_planned_by_renyi():
  goal, setting = 1e-18, (0.01, 1000)
  assert bounds.dpsgd_upper(1e-20, 1e3, *setting, "pld") > goal
  found = planner.plan(goal, *setting, DELTA, 1e-20)
  assert found.success_upper <= goal and 0.1 < found.noise_multiplier < 10
  less = found.noise_multiplier / (1 + 2 * planner.PRECISION)
  assert bounds.dpsgd_upper(1e-20, less, *setting) > goal


def test_a_stricter_goal_asks_for_more_noise():
  def sigma(goal=0.3, q=1.0, steps=50, kappa=0.01):
    return planner.plan(goal, q, steps, DELTA, kappa).noise_multiplier

  assert sigma(goal=0.1) > sigma() > sigma(goal=0.9)
  assert sigma(kappa=0.1) > sigma() > sigma(kappa=1e-9)
  assert sigma(steps=100) > sigma() > sigma(steps=20)
  assert sigma() > sigma(q=0.2) > sigma(q=0.05)


def test_rarely_drawn_records_need_no_noise():
  # 10 draws at 1%: the target is seen with probability 0.0956, no more.
  free = planner.plan(0.19, 0.01, 10, DELTA, 0.1)
  assert free.noise_multiplier == 0 and math.isinf(free.epsilon)
  assert free.success_upper == pytest.approx(0.1 + 0.9 * 0.09562, rel=1e-4)
  some = planner.plan(0.18, 0.01, 10, DELTA, 0.1)
  assert some.noise_multiplier > 0 and some.epsilon < 1000


@pytest.mark.parametrize(
  "call, message",
  [
    (dict(kappa=0.2), r"max_success .*\(kappa, 1\), got 0.2: a blind guess al"),
    (dict(kappa=0.9), "a blind guess already succeeds that often"),
    (dict(log_kappa=-1.0), "a blind guess already succeeds that often"),
    (dict(kappa=0.0), r"kappa must lie in \(0, 1\]"),
    (dict(kappa=1.5), r"kappa must lie in \(0, 1\]"),
    (dict(), r"one of kappa, in \(0, 1\], and log_kappa"),
    (dict(kappa=0.1, max_success=1.0), r"max_success must lie in \(0, 1\)"),
    (dict(kappa=0.1, max_success=-1), r"max_success must lie in \(0, 1\)"),
    (dict(kappa=0.1, sampling_probability=0), r"sampling_probability .*\(0, 1"),
    (dict(kappa=0.1, sampling_probability=1.1), "sampling_probability must"),
    (dict(kappa=0.1, steps=0), "steps must lie in the integers from 1"),
    (dict(kappa=0.1, delta=0.0), r"delta must lie in \(0, 1\), got 0.0"),
    (
      dict(kappa=0.1, delta=0.0, sampling_probability=0.1),
      r"delta must lie in \[1e-12, 1\) for method 'pld'",
    ),
    (
      dict(kappa=0.1, max_success=0.1 + 1e-15, sampling_probability=0.1),
      "max_success must lie farther above kappa",
    ),
  ],
)
def test_bad_input_names_argument_and_range(call, message):
  setting = dict(
    max_success=0.2, sampling_probability=1.0, steps=10, delta=DELTA
  )
  with pytest.raises(ValueError, match=message):
    planner.plan(**(setting | call))


def test_membership_advantage_in_closed_form():
  for sigma, steps in ((10.0, 100), (0.5, 1), (40.0, 1000)):
    mu = math.sqrt(steps) / sigma
    found = accounting.membership_advantage_upper(sigma, 1.0, steps)
    assert found == pytest.approx(2 * stats.norm.cdf(mu / 2) - 1, rel=1e-12)
  # One sampled step: q times the advantage of a step that is always taken.
  found = accounting.membership_advantage_upper(2.0, 0.1, 1)
  one = accounting.membership_advantage_upper(2.0, 1.0, 1)
  assert found == pytest.approx(0.1 * one, rel=1e-6)


def test_membership_advantage_is_the_widest_gap_of_the_reconstruction_bound():
  """TPR <= gamma(FPR), so the advantage is at most sup gamma(k) - k."""
  kappas = np.linspace(1e-4, 1 - 1e-4, 400)
  for setting in ((1.0, 0.01, 1000), (3.0, 1.0, 20), (0.4, 0.1, 30)):
    gap = np.max(bounds.dpsgd_upper(kappas, *setting) - kappas)
    found = accounting.membership_advantage_upper(*setting)
    assert gap <= found * (1 + 1e-9)
    assert gap == pytest.approx(found, rel=5e-3)


def test_membership_advantage_at_its_limits():
  upper = accounting.membership_advantage_upper
  assert upper(0.0, 1.0, 5) == 1.0 and upper(math.inf, 1.0, 5) == 0.0
  assert upper(0.0, 0.5, 3) == 0.875 and upper(math.inf, 0.5, 3) == 0.0
  assert upper(1e-3, 0.5, 3) == pytest.approx(0.875)
  assert upper(0.05, 0.5, 1000) <= 1.0  # all losses far above 0
  with pytest.raises(ValueError, match="noise_multiplier must lie in"):
    upper(-1.0, 0.5, 3)


def test_forward_is_the_way_back():
  found = planner.plan(0.3, 0.1, 50, DELTA, 0.01)
  assert planner.forward(found.noise_multiplier, 0.1, 50, DELTA, 0.01) == found
  assert planner.forward(0.0, 1.0, 5, DELTA, 0.01).success_upper == 1.0


def test_an_epoch_of_whole_batches_is_shorter_than_1_over_q():
  """Ten records in batches of three: four epochs begin in ten steps."""
  rng, taken = np.random.default_rng(0), np.zeros((50, 10), int)
  for count in taken:
    for step in range(10):
      if step % 3 == 0:
        order = rng.permutation(10)
      count[order[step % 3 * 3 :][:3]] += 1
  for scheme in ("shuffle", "balls_in_bins"):
    assert sampling.effective(scheme, 0.3, 10) == (1.0, taken.max()) == (1.0, 4)


def test_once_an_epoch_is_a_full_batch_an_epoch():
  assert sampling.effective("shuffle", 0.1, 30) == (1.0, 3)
  assert sampling.effective("balls_in_bins", 0.1, 31) == (1.0, 4)
  assert sampling.effective("shuffle", 1 / 3, 9) == (1.0, 3)
  assert sampling.effective("shuffle", 1 / 49, 98) == (1.0, 2)
  # Played: one epoch of 10 shuffled batches against an empty record. Knowing
  # the place is worth no more than is accounted; not knowing it, less.
  rng, sigma, bins, runs = np.random.default_rng(0), 1.0, 10, 100_000
  noise = sigma * rng.standard_normal((2, runs, bins))
  noise[0, np.arange(runs), rng.integers(bins, size=runs)] += 1
  score = special.logsumexp(noise / sigma**2, axis=2)
  kappa = 0.05
  power = np.mean(score[0] > np.quantile(score[1], 1 - kappa))
  q, steps = sampling.effective("balls_in_bins", 1 / bins, bins)
  assert kappa < power < bounds.dpsgd_upper(kappa, sigma, q, steps)
