"""Kappa of known priors, deep in the tails, and soundness from data."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from informed_recon.dp import intervals, priors


def test_uniform_ball_is_a_ratio_of_volumes():
  assert priors.uniform_ball_kappa(0.5, 2.0, 3) == pytest.approx(1 / 64)
  assert priors.uniform_ball_kappa(5.0, 2.0, 3) == 1.0
  found = priors.log_uniform_ball_kappa(0.3, 1.0, 784)
  assert found == pytest.approx(784 * math.log(0.3))
  assert priors.uniform_ball_kappa(0.3, 1.0, 784) == 0.0


@pytest.mark.parametrize("d", [1, 2, 7, 784])
def test_gaussian_kappa_is_the_chi_squared_law(d):
  r = np.sqrt(stats.chi2.ppf([1e-12, 1e-4, 0.3, 0.9, 1 - 1e-9], d))
  np.testing.assert_allclose(
    priors.log_gaussian_kappa(r, d), stats.chi2.logcdf(r**2, d), rtol=1e-10
  )


@pytest.mark.parametrize(
  "d, r", [(784, 1.0), (784, 9.0), (3072, 20.0), (2, 1e-90)]
)
def test_gaussian_kappa_far_below_the_smallest_float(d, r):
  # Independent: integrate the density by its own series, term by term.
  a, x = d / 2, r**2 / 2
  steps = np.log(x) - np.log(a + np.arange(1, 4000))
  series = special.logsumexp(np.append(0.0, np.cumsum(steps)))
  exact = a * math.log(x) - x - special.gammaln(a + 1) + series
  assert priors.log_gaussian_kappa(r, d) == pytest.approx(exact, rel=1e-12)


def test_gaussian_kappa_is_continuous_where_its_formula_changes():
  d = 784
  r = np.sqrt(np.linspace(190, 260, 2001))
  log_kappa = priors.log_gaussian_kappa(r, d)
  assert log_kappa[0] < -100 * math.log(10) < log_kappa[-1]
  slopes = np.diff(log_kappa) / np.diff(r)
  np.testing.assert_allclose(slopes[1:], slopes[:-1], rtol=1e-3)


@given(r=st.floats(0.01, 30), d=st.integers(1, 400))
def test_the_looser_closed_form_holds(r, d):
  if r**2 <= d:
    loose = d / 2 * (1 - r**2 / d + math.log(r**2 / d))
    assert priors.log_gaussian_kappa(r, d) <= loose + 1e-9


@given(
  d=st.integers(1, 3000), low=st.floats(1e-3, 60), high=st.floats(1e-3, 60)
)
def test_kappa_grows_with_the_radius(d, low, high):
  low, high = sorted([low, high])
  r = np.array([low, high])
  for log_kappa in (
    priors.log_gaussian_kappa(r, d),
    priors.log_uniform_ball_kappa(r, 40.0, d),
  ):
    assert log_kappa[0] <= log_kappa[1] + 1e-12 <= 1e-12
    assert np.all(np.isfinite(log_kappa))


def test_finite_kappa_is_the_likeliest_candidate():
  assert priors.finite_kappa([0.2, 0.5, 0.3]) == 0.5
  assert priors.log_finite_kappa(np.full(64, 1 / 64)) == pytest.approx(
    -math.log(64)
  )


def test_empirical_kappa_counts_within_twice_the_radius():
  points = np.array([[0.0], [1.0], [2.0], [10.0]])
  r = np.array([0.4, 0.5, 1.0, 20.0])
  np.testing.assert_array_equal(
    priors.empirical_kappa_upper(points, r), [0.25, 0.75, 0.75, 1.0]
  )


def test_counting_at_the_radius_itself_would_be_unsound():
  # Eight points on a circle: none is within r of another, all are within r of
  # the centre, which is no data point.
  angle = np.arange(8) * np.pi / 4
  points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
  assert priors.empirical_kappa_upper(points, 1.0) == 1.0


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_duplicates_count_at_any_radius_and_offset(shift):
  points = np.repeat(np.eye(3) * 0.1 + shift, 5, axis=0)
  assert priors.empirical_kappa_upper(points, 1e-9) == pytest.approx(1 / 3)


def test_round_off_never_parts_twins():
  # The expanded square leaves some of these zero distances at 1e-12.
  for seed in range(30):
    points = np.random.default_rng(seed).random((2, 784))[[0, 0, 1]] * 10
    assert priors.empirical_kappa_upper(points, 1e-9) == pytest.approx(2 / 3)


@pytest.mark.parametrize("n", [30, 400])
@pytest.mark.parametrize("r", [0.02, 0.1, 0.4])
def test_the_confident_bound_covers_the_population(n, r):
  # Uniform on a unit disk, where kappa(r) = r^2.
  rng = np.random.default_rng(3)
  repeats, confidence = 200, 0.8
  covered = 0
  for _ in range(repeats):
    angle = rng.uniform(0, 2 * np.pi, n)
    radius = np.sqrt(rng.uniform(size=n))
    disk = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    covered += priors.empirical_kappa_upper(disk, r, confidence) >= r**2
  assert covered / repeats >= confidence


def test_the_confident_bound_covers_an_atom_the_sample_may_miss():
  # Mass p at one point, the rest spread far apart: kappa = p for small r. The
  # atom is missed, or hit once, in a good share of samples; the share of points
  # alone then says 1/n.
  rng = np.random.default_rng(4)
  n, p, confidence, repeats = 40, 0.04, 0.9, 400
  bare, covered = 0, 0
  for _ in range(repeats):
    spread = rng.uniform(10, 1e9, size=n)
    points = np.where(rng.uniform(size=n) < p, 0.0, spread)[:, None]
    bare += priors.empirical_kappa_upper(points, 1e-3) >= p
    covered += priors.empirical_kappa_upper(points, 1e-3, confidence) >= p
  assert covered / repeats >= confidence
  assert bare / repeats < confidence


def test_the_confident_bound_by_hand():
  # All points far apart: no neighbours, n = 5, beta / 2 = 0.05.
  points = np.arange(5.0)[:, None] * 100
  none_near = 1 - (0.05 / 5) ** (1 / 4)
  assert priors.empirical_kappa_upper(points, 1.0, 0.9) == pytest.approx(
    none_near
  )


@given(n=st.integers(2, 10**6), tail=st.floats(1e-12, 0.5))
def test_a_ball_that_all_draws_missed_is_covered_by_the_count(n, tail):
  missed = 1 - tail ** (1 / n)
  assert intervals.upper_limit(0, n - 1, tail / n) >= missed


def test_more_confidence_and_larger_radii_cost_more():
  points = np.random.default_rng(5).normal(size=(300, 2))
  r = np.array([0.05, 0.1, 0.3, 1.0])
  bare = priors.empirical_kappa_upper(points, r)
  some = priors.empirical_kappa_upper(points, r, 0.9)
  more = priors.empirical_kappa_upper(points, r, 0.999)
  assert np.all(bare < some) and np.all(some < more)
  for found in (bare, some, more):
    assert np.all(np.diff(found) > 0)


def test_distances_are_held_a_block_at_a_time():
  points = np.random.default_rng(6).random((3000, 100))
  whole_matrix = 8 * 3000**2
  tracemalloc.start()
  priors.empirical_kappa_upper(points, 1.0)
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert peak < whole_matrix / 2


def test_blocks_do_not_change_the_count():
  rng = np.random.default_rng(7)
  points = rng.normal(size=(priors.BLOCK * 2 + 17, 3))
  r = np.array([[0.1, 0.3], [0.5, 1.0]])
  distances = np.linalg.norm(points[:, None] - points, axis=-1)
  exact = [
    [np.mean(distances <= 2 * one, axis=1).max() for one in row] for row in r
  ]
  np.testing.assert_allclose(priors.empirical_kappa_upper(points, r), exact)


def test_images_are_flattened():
  images = np.random.default_rng(8).random((20, 4, 4, 1))
  assert priors.empirical_kappa_upper(images, 0.5) == (
    priors.empirical_kappa_upper(images.reshape(20, 16), 0.5)
  )


def test_twins_are_logarithms_and_shapes_are_kept():
  points = np.arange(10.0)[:, None]
  pairs = [
    (priors.uniform_ball_kappa, priors.log_uniform_ball_kappa, (2.0, 3)),
    (priors.gaussian_kappa, priors.log_gaussian_kappa, (3,)),
  ]
  r = np.array([[0.5, 1.0, 1.5]])
  for plain, logarithm, rest in pairs:
    np.testing.assert_allclose(np.log(plain(r, *rest)), logarithm(r, *rest))
    assert plain(r, *rest).shape == r.shape
    assert type(plain(0.5, *rest)) is float
    assert type(logarithm(np.float64(0.5), *rest)) is float
  plain = priors.empirical_kappa_upper(points, r, 0.9)
  np.testing.assert_allclose(
    np.log(plain), priors.log_empirical_kappa_upper(points, r, 0.9)
  )
  assert type(priors.empirical_kappa_upper(points, 0.5)) is float
  assert type(priors.log_empirical_kappa_upper(points, 0.5, 0.9)) is float


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: priors.uniform_ball_kappa(0.0, 1.0, 2), r"r must lie in \(0, inf"),
    (lambda: priors.uniform_ball_kappa(1.0, 0.0, 2), "radius must lie in"),
    (lambda: priors.uniform_ball_kappa(1.0, 1.0, 0), "d must lie in"),
    (lambda: priors.gaussian_kappa(-1.0, 2), r"r must lie in \(0, inf\)"),
    (lambda: priors.gaussian_kappa([1.0, math.inf], 2), "r must lie in"),
    (lambda: priors.gaussian_kappa(1.0, 2.5), "d must lie in"),
    (lambda: priors.finite_kappa([0.5, 0.6]), "probabilities must lie in"),
    (lambda: priors.finite_kappa([1.5, -0.5]), "probabilities must lie in"),
    (lambda: priors.finite_kappa([]), "probabilities must lie in"),
    (lambda: priors.empirical_kappa_upper([[1.0]], 1.0), "points must be"),
    (lambda: priors.empirical_kappa_upper([1.0, 2.0], 1.0), "points must be"),
    (
      lambda: priors.empirical_kappa_upper([[1.0], [math.nan]], 1.0),
      "points must be",
    ),
    (
      lambda: priors.empirical_kappa_upper([[1.0], [2.0]], 0.0),
      r"r must lie in \(0, inf\)",
    ),
    (
      lambda: priors.empirical_kappa_upper([[1.0], [2.0]], 1.0, 1.0),
      r"confidence must lie in \(0, 1\)",
    ),
  ],
)
def test_bad_input_names_argument_and_range(call, message):
  with pytest.raises(ValueError, match=message):
    call()
