"""Lower bounds from measurements, their coverage, and the sampled estimate."""

import math

import numpy as np
import pytest
from scipy import special, stats

from informed_recon.dp import bounds, converse, intervals, monte_carlo, priors


@pytest.mark.parametrize(
  "successes, trials", [(0, 7), (3, 7), (7, 7), (60, 99)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_limits_agree_with_the_exact_binomial_interval(
  successes, trials, confidence
):
  # A two-sided interval at 1 - 2 beta has the one-sided limits at 1 - beta.
  def reference(side):
    return stats.binomtest(successes, trials, alternative=side).proportion_ci(
      confidence, method="exact"
    )

  low = intervals.clopper_pearson_lower(successes, trials, confidence)
  high = intervals.clopper_pearson_upper(successes, trials, confidence)
  assert low == pytest.approx(reference("greater").low, abs=1e-12)
  assert high == pytest.approx(reference("less").high, abs=1e-12)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.97])
def test_limits_cover_the_probability(p):
  trials, confidence = 50, 0.9
  # Coverage over the whole binomial law, not a sample of it.
  counts = np.arange(trials + 1)
  law = stats.binom.pmf(counts, trials, p)
  low = [intervals.clopper_pearson_lower(k, trials, confidence) for k in counts]
  high = [
    intervals.clopper_pearson_upper(k, trials, confidence) for k in counts
  ]
  assert law @ (np.array(low) <= p) >= confidence
  assert law @ (np.array(high) >= p) >= confidence


def test_a_tiny_tail_keeps_its_digits():
  # No success in n trials: (1 - p)^n = tail.
  tail = 1e-30
  exact = -math.expm1(math.log(tail) / 1000)
  assert intervals.upper_limit(0, 1000, tail) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.5, 2.0])
@pytest.mark.parametrize("kappa", [0.02, 0.5])
def test_epsilon_lower_rarely_exceeds_the_truth(epsilon, kappa):
  # Randomised response on "was the guess right" attains the (epsilon, 0)
  # trade-off exactly where kappa e^eps meets the other branch or stays below.
  gamma = min(kappa * math.exp(epsilon), 1 - (1 - kappa) * math.exp(-epsilon))
  rng = np.random.default_rng(2)
  confidence, trials = 0.9, 4000
  found = [
    converse.epsilon_lower(k, trials, kappa, confidence=confidence)
    for k in rng.binomial(trials, gamma, size=2000)
  ]
  # Three standard errors of 2,000 repetitions are 0.02.
  assert np.mean(np.array(found) <= epsilon) >= confidence - 0.02
  # And it is no empty statement: most repetitions see half of epsilon.
  assert np.mean(np.array(found) > epsilon / 2) > 0.5


def test_epsilon_lower_inverts_the_upper_bound():
  kappa, delta = 0.05, 0.01
  found = converse.epsilon_lower(300, 1000, kappa, delta)
  limit = intervals.clopper_pearson_lower(300, 1000)
  assert bounds.approx_dp_upper(kappa, found, delta) == pytest.approx(limit)


def test_epsilon_lower_uses_the_other_direction_for_near_certainty():
  limit = intervals.clopper_pearson_lower(999, 1000)
  found = converse.epsilon_lower(999, 1000, 0.5)
  assert found == pytest.approx(math.log(0.5 / (1 - limit)))


def test_epsilon_lower_of_no_success_is_zero():
  assert converse.epsilon_lower(0, 50, 0.1) == 0.0
  assert converse.epsilon_lower(5, 50, 0.1) == 0.0
  assert converse.epsilon_lower(50, 50, 1.0, delta=1.0) == 0.0


def test_epsilon_lower_moves_the_right_way():
  by_count = [converse.epsilon_lower(k, 100, 0.05) for k in range(0, 101, 10)]
  assert np.all(np.diff(by_count) >= 0) and by_count[-1] > 2
  assert converse.epsilon_lower(50, 100, 0.05) > converse.epsilon_lower(
    50, 100, 0.1
  )
  assert converse.epsilon_lower(
    50, 100, 0.05, confidence=0.9
  ) > converse.epsilon_lower(50, 100, 0.05, confidence=0.99)


def test_a_true_bound_is_rarely_refuted_and_a_false_one_is():
  rng = np.random.default_rng(4)
  counts = rng.binomial(400, 0.3, size=2000)
  wrong = np.mean([converse.refuted(k, 400, 0.3) for k in counts])
  assert 0 < wrong <= 0.005 + 3 * math.sqrt(0.005 / 2000)
  assert np.mean([converse.refuted(k, 400, 0.2) for k in counts]) > 0.9
  low, _ = intervals.clopper_pearson(150, 400, 0.99)
  assert converse.refuted(150, 400, low - 1e-9)
  assert not converse.refuted(150, 400, low + 1e-9)
  with pytest.raises(ValueError, match=r"gamma must lie in \[0, 1\]"):
    converse.refuted(1, 2, 1.5)


def test_the_two_sided_interval_is_the_reference_one():
  expected = stats.binomtest(17, 60).proportion_ci(0.99, method="exact")
  found = intervals.clopper_pearson(17, 60, 0.99)
  np.testing.assert_allclose(found, (expected.low, expected.high), atol=1e-12)


@pytest.mark.parametrize("correlation, success", [(0.0, 0.957), (0.5, 0.81)])
def test_identification_of_gaussian_releases(correlation, success):
  """Check values, and the same attack played out on vectors."""
  m, mu, trials = 8, 3.4, 40_000
  gram = mu**2 * ((1 - correlation) * np.eye(m) + correlation)
  found = monte_carlo.identification_estimate(gram, samples=trials)
  error = math.sqrt(success * (1 - success) / trials)
  assert found == pytest.approx(success, abs=4 * error + 0.005)
  rng = np.random.default_rng(0)
  candidates = np.linalg.cholesky(gram)  # rows have these inner products
  truth = rng.integers(m, size=trials)
  release = candidates[truth] + rng.standard_normal((trials, m))
  scores = release @ candidates.T - np.diag(gram) / 2
  played = np.mean(scores.argmax(1) == truth)
  assert found == pytest.approx(played, abs=6 * error)
  assert found < bounds.gaussian_upper(1 / m, mu) + 4 * error


def test_identification_of_releases_of_many_lengths():
  """Without information one in m; a batch of matrices is one each."""
  grams = np.stack([np.zeros((4, 4)), 1e4 * np.eye(4), np.ones((4, 4))])
  found = monte_carlo.identification_estimate(grams, samples=4000)
  assert found.shape == (3,) and found[1] == 1.0
  np.testing.assert_allclose(found[[0, 2]], 0.25, atol=0.03)
  # The longest stands out most: its direction carries the most information.
  uneven = np.diag([0.0, 0.0, 0.0, 25.0])
  found = monte_carlo.identification_estimate(uneven, samples=40_000)
  # argmax breaks the tie of three equal scores for the first one.
  exact = (2 * stats.norm.cdf(2.5)) / 4
  assert found == pytest.approx(exact, abs=0.01)
  for bad in (np.zeros(3), np.zeros((2, 3)), np.full((2, 2), np.nan)):
    with pytest.raises(ValueError, match="gram must be finite and square"):
      monte_carlo.identification_estimate(bad)
  with pytest.raises(ValueError, match="samples must lie in"):
    monte_carlo.identification_estimate(np.eye(2), samples=0)


def test_mse_floor_without_information_is_the_variance_of_the_prior():
  # For N(0, I_d) the best blind guess is the mean, at expected error d.
  d = 20
  radii = np.linspace(0, 12, 4001)[1:]
  floor = converse.mse_lower(radii, priors.gaussian_kappa(radii, d))
  assert floor <= d
  assert floor == pytest.approx(d, rel=2e-3)


def test_mse_floor_is_kept_by_the_best_reconstruction_under_gaussian_noise():
  # One release z + s N(0, I) of z ~ N(0, 1): the posterior mean has error
  # s^2 / (1 + s^2), and the release is Gaussian-DP only on a bounded prior, so
  # the exact success within r stands in for gamma.
  s = 0.8
  variance = s**2 / (1 + s**2)
  radii = np.linspace(0, 6, 3001)[1:]
  gamma = special.erf(radii / math.sqrt(2 * variance))
  floor = converse.mse_lower(radii, gamma)
  assert floor <= variance
  assert floor == pytest.approx(variance, rel=5e-3)


def test_mse_floor_never_overshoots_on_coarse_radii():
  fine = np.linspace(0, 12, 4001)[1:]
  exact = converse.mse_lower(fine, priors.gaussian_kappa(fine, 5))
  for count in (1, 2, 5, 20):
    coarse = np.linspace(0, 8, count + 1)[1:]
    assert converse.mse_lower(coarse, priors.gaussian_kappa(coarse, 5)) <= exact


def test_mse_floor_shrinks_as_privacy_is_spent():
  radii = np.linspace(0, 30, 301)[1:]
  log_kappa = priors.log_gaussian_kappa(radii, 100)
  floors = [
    converse.mse_lower(
      radii, bounds.gaussian_upper(None, mu, log_kappa=log_kappa)
    )
    for mu in (0.0, 1.0, 3.0, 10.0)
  ]
  assert np.all(np.diff(floors) < 0) and floors[-1] > 0


def test_the_estimate_is_biased_low():
  # The exact value is 0.0924; a bound would have to lie on the other side.
  exact = bounds.gaussian_upper(0.01, 1.0)
  found = [
    monte_carlo.dpsgd_estimate(0.01, 10.0, 1.0, 100, samples=200, seed=seed)
    for seed in range(1000)
  ]
  error = np.std(found) / math.sqrt(len(found))
  assert np.mean(found) < exact - 3 * error
  assert np.mean(found) > 0.7 * exact


def test_the_estimate_converges_to_the_bound():
  found = monte_carlo.dpsgd_estimate(
    np.array([0.1, 0.5]), 1.0, 0.3, 4, samples=200_000
  )
  exact = bounds.dpsgd_upper(np.array([0.1, 0.5]), 1.0, 0.3, 4, "pld")
  np.testing.assert_allclose(found, exact, rtol=0.02)


def test_the_estimate_misses_most_of_a_strong_signal():
  # At mu = 5 the ratios that matter are rarer than any sample of this size.
  found = monte_carlo.dpsgd_estimate(0.001, 2.0, 1.0, 100, samples=2000)
  assert found < 0.8 * bounds.gaussian_upper(0.001, 5.0)


def test_the_estimate_is_a_function_of_its_seed():
  first, again, other = (
    monte_carlo.dpsgd_estimate(0.1, 1.0, 0.5, 3, samples=500, seed=s)
    for s in (0, 0, 1)
  )
  assert first == again != other


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: intervals.clopper_pearson_lower(1, 0), "trials must lie in"),
    (lambda: intervals.clopper_pearson_lower(-1, 5), "successes must lie in"),
    (lambda: intervals.clopper_pearson_upper(6, 5), "successes must lie in"),
    (lambda: intervals.clopper_pearson_upper(1.5, 5), "successes must lie in"),
    (
      lambda: intervals.clopper_pearson_upper(1, 5, 1.0),
      r"confidence .*\(0, 1",
    ),
    (lambda: converse.epsilon_lower(1, 5, 0.0), r"kappa must lie in \(0, 1\]"),
    (lambda: converse.epsilon_lower(1, 5, 0.1, 2.0), r"delta .* \[0, 1\]"),
    (lambda: converse.mse_lower([2.0, 1.0], [0, 0]), "radii must lie in"),
    (lambda: converse.mse_lower([0.0, 1.0], [0, 0]), "radii must lie in"),
    (lambda: converse.mse_lower([1.0], [1.5]), r"gammas must lie in \[0, 1\]"),
    (lambda: converse.mse_lower([1.0], [0, 0]), r"gammas must lie in \[0, 1\]"),
    (
      lambda: monte_carlo.dpsgd_estimate(1e-5, 1, 1, 1, samples=100),
      "kappa must lie in .1 / samples = 0.01, 1.",
    ),
    (
      lambda: monte_carlo.dpsgd_estimate(0.1, 0.0, 1, 1),
      r"noise_multiplier must lie in \(0, inf\)",
    ),
    (
      lambda: monte_carlo.dpsgd_estimate(0.1, 1, 1, 1, samples=0),
      "samples must lie in",
    ),
  ],
)
def test_bad_input_names_argument_and_range(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_van_trees_is_met_by_gaussians_and_kept_by_others():
  """200 linear Gaussian releases, whose posterior is known in closed form."""
  rng = np.random.default_rng(5)
  for _ in range(200):
    d, s = rng.integers(1, 6), 10 ** rng.uniform(-1, 1)
    a = rng.standard_normal((d + 1, d))
    root = rng.standard_normal((d, d)) + 2 * np.eye(d)
    prior = root @ root.T  # covariance
    gain = prior @ a.T @ np.linalg.inv(a @ prior @ a.T + s**2 * np.eye(d + 1))
    error = np.trace(prior - gain @ a @ prior)
    found = converse.van_trees_lower(a.T @ a / s**2, np.linalg.inv(prior))
    assert found == pytest.approx(error, rel=1e-6)
  # A prior that is not Gaussian: cos^2 on [-1, 1], of information pi^2.
  z = np.linspace(-1, 1, 4001)
  prior = np.cos(np.pi * z / 2) ** 2
  for s in (0.1, 0.5, 2.0):
    y = np.linspace(-1 - 8 * s, 1 + 8 * s, 1201)
    joint = prior * np.exp(-((y[:, None] - z) ** 2) / (2 * s**2))
    mean = joint @ z / joint.sum(1)
    error = np.sum(joint * (z - mean[:, None]) ** 2) / joint.sum()
    floor = converse.van_trees_lower(1 / s**2, np.pi**2)
    assert 0.5 * error < floor < error
  for bad in (([[1.0, 2.0], [0.0, 1.0]], np.eye(2)), (np.eye(3), np.eye(2))):
    with pytest.raises(ValueError, match="information must be symmetric"):
      converse.van_trees_lower(*bad)
  with pytest.raises(ValueError, match="prior_information must be positive"):
    converse.van_trees_lower(np.eye(2), np.zeros((2, 2)))
