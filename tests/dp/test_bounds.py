"""Bounds on reconstruction: check values, limits, order, soundness, input."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, special, stats

from informed_recon.dp import accounting, bounds, loss_distribution

SUBSAMPLED = (1.0, 0.01, 1000)
FULL = (10.0, 1.0, 100)
LOG_KAPPAS = np.array([-900.0, -46, -20, -5, -1, -0.1, -1e-6, 0.0])

# Every door with its privacy parameter at nothing, something and everything.
DOORS = {
  "pure": (bounds.pure_dp_upper, (0.0,), (1.0,), (math.inf,)),
  "approx": (bounds.approx_dp_upper, (0.0, 0.0), (1.0, 1e-3), (math.inf, 0.0)),
  "rdp": (
    bounds.rdp_upper,
    ([1e9], [0.0]),
    ([2.0, 8.0], [0.5, 1.0]),
    ([2.0], [math.inf]),
  ),
  "zcdp": (bounds.zcdp_upper, (0.0,), (0.5,), (math.inf,)),
  "gaussian": (bounds.gaussian_upper, (0.0,), (1.0,), (math.inf,)),
  "laplace": (bounds.laplace_upper, (0.0,), (1.0,), (math.inf,)),
  "dpsgd": (
    bounds.dpsgd_upper,
    (math.inf, 0.01, 100),
    (1.0, 0.01, 100),
    (0.0, 0.1, 1000),
  ),
  "dpsgd full batch": (
    bounds.dpsgd_upper,
    (1e9, 1.0, 100),
    (10.0, 1.0, 100),
    (1e-4, 1.0, 100),
  ),
}
door = pytest.mark.parametrize("name", DOORS)


@pytest.mark.parametrize(
  "setting, by_pld, by_rdp",
  [
    (SUBSAMPLED, (0.0292, 0.1943, 0.2319), None),
    (FULL, (0.0924, 0.3891, 0.4402), (None, 0.4837, None)),
  ],
)
def test_check_values_of_dpsgd(setting, by_pld, by_rdp):
  kappa = np.array([0.01, 0.1, 0.125])
  found = bounds.dpsgd_upper(kappa, *setting, method="pld")
  np.testing.assert_allclose(found, by_pld, rtol=2e-3)
  whole = bounds.dpsgd_upper(kappa, *setting, method="rdp")
  first_term = (0.0350, 0.2301, 0.2740), (0.1262, 0.5189, 0.5829)
  assert np.all(whole < first_term[setting == FULL])
  assert np.all(whole > found)
  if by_rdp:
    assert whole[1] == pytest.approx(by_rdp[1], abs=1e-4)
  np.testing.assert_allclose(
    bounds.dpsgd_upper(kappa, *setting), by_pld, rtol=2e-3
  )


@pytest.mark.parametrize(
  "kappa, mu, exact, by_zcdp",
  [(0.1, 1.0, 0.389144, 0.483730), (0.01, 2.0, 0.372081, 0.548678)],
)
def test_check_values_of_gaussian_and_zcdp(kappa, mu, exact, by_zcdp):
  assert bounds.gaussian_upper(kappa, mu) == pytest.approx(exact, abs=1e-6)
  assert bounds.zcdp_upper(kappa, mu**2 / 2) == pytest.approx(by_zcdp, abs=1e-6)


def test_simple_bounds_by_hand():
  assert bounds.pure_dp_upper(0.1, math.log(3)) == pytest.approx(0.3)
  assert bounds.pure_dp_upper(0.5, 5.0) == pytest.approx(1 - 0.5 * math.exp(-5))
  assert bounds.pure_dp_upper(0.5, 1.0) == pytest.approx(0.8161, abs=1e-4)
  assert bounds.approx_dp_upper(0.125, 3.0, 0.0) == pytest.approx(
    0.9564, abs=1e-4
  )
  assert bounds.approx_dp_upper(0.1, math.log(3), 0.05) == pytest.approx(0.35)
  assert bounds.rdp_upper(0.25, [2.0], [0.0]) == pytest.approx(0.25)
  assert bounds.rdp_upper(1e-3, [2.0], [0.1]) == pytest.approx(0.0113, abs=1e-4)


@door
def test_without_information_only_the_guess_is_left(name):
  upper, nothing, _, _ = DOORS[name]
  kappa = np.exp(LOG_KAPPAS)
  found = upper(None, *nothing, log_kappa=LOG_KAPPAS)
  np.testing.assert_allclose(found[1:], kappa[1:], rtol=1e-6)
  assert found[0] < 1e-300


@door
def test_with_all_information_nothing_is_excluded(name):
  upper, _, _, everything = DOORS[name]
  np.testing.assert_array_equal(
    upper(None, *everything, log_kappa=LOG_KAPPAS), np.ones(len(LOG_KAPPAS))
  )


@door
@given(
  first=st.floats(-900, 0),
  second=st.floats(-900, 0),
)
def test_grows_with_kappa_and_never_falls_below_it(name, first, second):
  upper, _, some, _ = DOORS[name]
  low, high = sorted([first, second])
  gammas = upper(None, *some, log_kappa=np.array([low, high]))
  assert gammas[0] <= gammas[1] * (1 + 1e-12)
  assert np.all(gammas >= np.exp([low, high]) * (1 - 1e-12))
  assert np.all((gammas > 0) & (gammas <= 1))


@given(
  log_kappa=st.floats(-60, 0),
  weak=st.floats(0, 30),
  strong=st.floats(0, 30),
)
def test_grows_with_the_privacy_parameter(log_kappa, weak, strong):
  weak, strong = sorted([weak, strong])
  for upper in (
    bounds.pure_dp_upper,
    bounds.zcdp_upper,
    bounds.gaussian_upper,
    bounds.laplace_upper,
  ):
    less = upper(None, weak, log_kappa=log_kappa)
    assert less <= upper(None, strong, log_kappa=log_kappa) * (1 + 1e-12)


@pytest.mark.parametrize("method", bounds.METHODS)
def test_dpsgd_grows_with_data_use_and_falls_with_noise(method):
  def gamma(sigma=3.0, q=0.02, steps=20):
    return bounds.dpsgd_upper(0.01, sigma, q, steps, method)

  assert np.all(np.diff([gamma(sigma=s) for s in (1, 2, 4, 9)]) < 0)
  assert np.all(np.diff([gamma(q=q) for q in (1e-4, 0.02, 0.2, 1)]) > 0)
  assert np.all(np.diff([gamma(steps=t) for t in (1, 20, 400, 2000)]) > 0)


@given(log_kappa=st.floats(-60, 0), parameter=st.floats(0, 12))
def test_exact_trade_offs_undercut_general_bounds(log_kappa, parameter):
  exact = bounds.laplace_upper(None, parameter, log_kappa=log_kappa)
  loose = bounds.pure_dp_upper(None, parameter, log_kappa=log_kappa)
  assert exact <= loose * (1 + 1e-12)
  exact = bounds.gaussian_upper(None, parameter, log_kappa=log_kappa)
  loose = bounds.zcdp_upper(None, parameter**2 / 2, log_kappa=log_kappa)
  assert exact <= loose * (1 + 1e-9)


@pytest.mark.parametrize("kappa", [1e-6, 0.1, 0.2, 0.4, 0.6, 0.95])
def test_laplace_is_the_neyman_pearson_power(kappa):
  # The likelihood ratio of Laplace(eps) to Laplace(0) grows with the
  # observation, so a threshold test is best.
  epsilon = 1.0
  threshold = stats.laplace.isf(kappa)
  power = stats.laplace.sf(threshold - epsilon)
  assert bounds.laplace_upper(kappa, epsilon) == pytest.approx(power, rel=1e-9)


@pytest.mark.parametrize("rho", [1e-4, 0.3, 4.0])
@pytest.mark.parametrize("log_kappa", [-900.0, -30.0, -5.0])
def test_zcdp_is_the_renyi_bound_at_its_best_order(rho, log_kappa):
  orders = 1 + np.geomspace(1e-4, 1e4, 20_001)
  by_grid = bounds.rdp_upper(None, orders, orders * rho, log_kappa=log_kappa)
  assert bounds.zcdp_upper(None, rho, log_kappa=log_kappa) == pytest.approx(
    by_grid, rel=1e-3
  )


@pytest.mark.parametrize(
  "setting",
  [
    SUBSAMPLED,
    (0.3, 0.01, 1000),
    (0.1, 0.1, 100),
    (5.0, 0.01, 1000),
    (1.0, 0.5, 1),
    (0.5, 1e-5, 100),
    (1.0, 0.001, 100_000),
    (10.0, 1.0, 100),
    (1e5, 0.3, 50),
  ],
)
def test_pld_undercuts_rdp_and_best_is_the_smaller(setting):
  log_k = np.append(np.log(np.geomspace(1e-10, 0.999, 30)), [-40.0, -900.0])
  by_pld, by_rdp, best = (
    bounds.dpsgd_upper(None, *setting, m, log_kappa=log_k)
    for m in ("pld", "rdp", "best")
  )
  assert np.all(by_pld[:30] <= by_rdp[:30])
  np.testing.assert_array_equal(best, np.minimum(by_pld, by_rdp))


@pytest.mark.parametrize("kappa", [1e-12, 1e-10, 1e-5, 0.01, 0.5, 0.99])
def test_sampling_nearly_everything_approaches_full_batch_from_above(kappa):
  exact = bounds.gaussian_upper(kappa, 1.0)
  nearly = bounds.dpsgd_upper(kappa, 10.0, 1 - 1e-12, 100, "pld")
  assert exact <= nearly <= exact * (1 + 5e-4)
  assert bounds.dpsgd_upper(kappa, *FULL, "pld") == exact
  assert bounds.dpsgd_upper(kappa, *FULL, "best") == exact


@pytest.mark.parametrize("sigma, q", [(1.0, 0.01), (0.4, 0.3), (3.0, 0.5)])
@pytest.mark.parametrize("kappa", [1e-9, 1e-3, 0.1, 0.7, 0.999])
def test_one_step_is_the_exact_power(sigma, q, kappa):
  # One subsampled step: reject for large x, at level kappa under N(0, sigma^2).
  x = stats.norm.isf(kappa)
  exact = (1 - q) * kappa + q * stats.norm.sf(x - 1 / sigma)
  found = bounds.dpsgd_upper(kappa, sigma, q, 1, "pld")
  assert exact * (1 - 1e-13) <= found <= exact * (1 + 3e-4)


@pytest.mark.parametrize("sigma, q", [(1.0, 0.2), (0.7, 0.5)])
def test_two_steps_bound_the_power_by_quadrature(sigma, q):
  # P and Q of the event {loss_1 + loss_2 > c}, by integration over step one.
  def loss(x):
    return np.log(1 - q + q * np.exp((x - 0.5) / sigma**2))

  def second(c, x):
    least = (np.exp(c - loss(x)) - (1 - q)) / q
    edge = -np.inf if least <= 0 else sigma**2 * np.log(least) + 0.5
    without = stats.norm.sf(edge / sigma)
    return without, (1 - q) * without + q * stats.norm.sf((edge - 1) / sigma)

  def mass(c, which):
    def integrand(x):
      density = stats.norm.pdf(x, 0, sigma)
      if which:
        density = (1 - q) * density + q * stats.norm.pdf(x, 1, sigma)
      return density * second(c, x)[which]

    return integrate.quad(integrand, -10, 12, limit=300, epsabs=1e-12)[0]

  for c in (0.2, 1.0):
    exact = mass(c, 1)
    found = bounds.dpsgd_upper(mass(c, 0), sigma, q, 2, "pld")
    assert exact - 1e-9 <= found <= exact * (1 + 1e-3)


@pytest.mark.parametrize(
  "setting", [SUBSAMPLED, (0.3, 0.01, 1000), (2.0, 1e-4, 10**6), (0.5, 1e-5, 9)]
)
def test_deltas_are_a_decreasing_curve_in_the_unit_interval(setting):
  epsilons, deltas = loss_distribution.delta_curve(*setting)
  assert np.all(np.diff(epsilons) > 0)
  assert np.all(np.diff(deltas) <= 0)
  assert np.all((deltas >= loss_distribution.TAIL_MASS) & (deltas <= 1))
  # At eps < 0 delta is at least 1 - e^eps.
  assert np.all(deltas >= -np.expm1(np.minimum(epsilons, 0)) - 1e-13)


def test_composition_never_falls_below_the_exact_law():
  # Fair coins, in whole numbers: most of the law is below Fourier round-off.
  steps = 1000
  start, law, lost = loss_distribution._compose(0, np.full(2, 0.5), steps)
  heads = start + np.arange(len(law))
  exact = np.array([math.comb(steps, k) / 2**steps for k in heads])
  tails = np.cumsum(exact[::-1])[::-1]
  assert np.all(np.cumsum(law[::-1])[::-1] + lost >= tails)
  assert np.any(np.cumsum(law[::-1])[::-1] < tails)
  assert lost < 1e-11


def test_rare_large_losses_do_not_blow_up_the_grid():
  epsilons, _ = loss_distribution.delta_curve(0.5, 1e-5, 100)
  assert len(epsilons) < 200_000


@door
@pytest.mark.filterwarnings("error")
def test_huge_parameters_do_not_overflow(name):
  upper, _, some, _ = DOORS[name]
  if len(some) == 1:
    assert upper(0.1, 1e6) == 1.0
  assert bounds.approx_dp_upper(0.1, 1e4, 0.0) == 1.0
  assert bounds.rdp_upper(0.1, [2.0], [1e4]) == 1.0


def test_the_curve_agrees_with_the_accountant():
  # The accountant reports the worse of the two directions.
  for setting in (SUBSAMPLED, (0.3, 0.01, 1000), (5.0, 0.1, 50)):
    epsilon = accounting.dpsgd_epsilon(*setting, 1e-5)
    epsilons, deltas = loss_distribution.delta_curve(*setting)
    delta = np.interp(epsilon, epsilons, deltas)
    assert delta == pytest.approx(1e-5, rel=0.02)


def test_a_tight_attack_attains_the_bound():
  # Identify a target among m from one full-batch release: with kappa = 1/m and
  # threshold guessing in one dimension, success is exactly the power. A bound
  # divided by 1.1 would be refuted by this sample.
  rng = np.random.default_rng(0)
  sigma, q, steps, kappa, trials = 1.5, 0.3, 5, 0.1, 200_000

  def total_loss(present):
    x = sigma * rng.standard_normal((trials, steps))
    if present:
      x += rng.random((trials, steps)) < q
    return loss_distribution.mixture_loss((x - 0.5) / sigma**2, q).sum(axis=1)

  threshold = np.quantile(total_loss(False), 1 - kappa)
  success = np.mean(total_loss(True) > threshold)
  bound = bounds.dpsgd_upper(kappa, sigma, q, steps)
  assert success <= bound + 0.004
  assert success > bound / 1.1


@pytest.mark.parametrize("method", bounds.METHODS)
@pytest.mark.parametrize(
  "sigma, q, steps",
  [
    (1e-6, 0.1, 10),
    (1e-3, 0.5, 10),
    (1e12, 0.1, 100),
    (1e18, 0.5, 10),
    (1.0, 1e-12, 1),
    (1.0, 1e-9, 1000),
    (0.5, 1e-6, 1),
    (3.0, 0.999999, 1),
    (1.0, 1.0, 1),
  ],
)
@pytest.mark.filterwarnings("error")
def test_extremes_stay_probabilities_in_order(sigma, q, steps, method):
  gammas = bounds.dpsgd_upper(
    None, sigma, q, steps, method, log_kappa=LOG_KAPPAS
  )
  assert np.all((gammas > 0) & (gammas <= 1))
  assert np.all(np.diff(gammas) >= 0)
  assert np.all(gammas >= np.exp(LOG_KAPPAS))


def test_a_target_never_sampled_stays_safe():
  # Without noise the adversary learns only whether the target was ever drawn.
  q, steps = 0.1, 10
  found = bounds.dpsgd_upper(1e-9, 1e-2, q, steps)
  assert found == pytest.approx(1 - (1 - q) ** steps, rel=1e-6)


@pytest.mark.parametrize("method", bounds.METHODS)
def test_without_noise_the_target_must_still_be_drawn(method):
  # Drawn: all is known. Not drawn: the guess is left.
  kappa, q, steps = 0.2, 0.03, 10
  drawn = 1 - (1 - q) ** steps
  exact = drawn + (1 - drawn) * kappa
  noise = [0.0, 1e-3, 0.05, 0.3, 1.0, 5.0]
  found = [bounds.dpsgd_upper(kappa, s, q, steps, method) for s in noise]
  assert found[0] == pytest.approx(exact, rel=1e-12)
  assert np.all(np.diff(found) <= 0) and found[-1] < 0.9 * exact


@door
@pytest.mark.filterwarnings("error")
def test_shapes_in_shapes_out(name):
  upper, _, some, _ = DOORS[name]
  assert type(upper(0.1, *some)) is float
  assert type(upper(np.float64(0.1), *some)) is float
  assert type(upper(np.array(0.1), *some)) is float
  assert type(upper(None, *some, log_kappa=-900)) is float
  grid = np.array([[0.1, 0.2, 1.0], [1e-20, 1e-300, 0.5]])
  found = upper(grid, *some)
  assert found.shape == grid.shape
  one_by_one = [[upper(k, *some) for k in row] for row in grid]
  np.testing.assert_allclose(found, one_by_one, rtol=1e-12)
  by_log = upper(None, *some, log_kappa=np.log(grid))
  np.testing.assert_allclose(found, by_log, rtol=1e-12)
  assert upper([0.1, 0.2], *some).shape == (2,)
  assert upper(np.zeros(0), *some).shape == (0,)


@door
@pytest.mark.parametrize("kappa", [0.0, -0.1, 1.1, math.nan, [0.1, 2.0]])
def test_kappa_out_of_range(name, kappa):
  upper, _, some, _ = DOORS[name]
  with pytest.raises(ValueError, match=r"kappa must lie in \(0, 1\]"):
    upper(kappa, *some)


@door
@pytest.mark.parametrize("log_kappa", [0.1, -math.inf, math.nan])
def test_log_kappa_out_of_range(name, log_kappa):
  upper, _, some, _ = DOORS[name]
  with pytest.raises(ValueError, match=r"log_kappa must lie in \(-inf, 0\]"):
    upper(None, *some, log_kappa=log_kappa)


@door
def test_kappa_is_given_once(name):
  upper, _, some, _ = DOORS[name]
  with pytest.raises(
    ValueError, match="one of kappa, in .0, 1., and log_kappa"
  ):
    upper(None, *some)
  with pytest.raises(
    ValueError, match="one of kappa, in .0, 1., and log_kappa"
  ):
    upper(0.1, *some, log_kappa=-1.0)


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda: bounds.pure_dp_upper(0.1, -1.0), r"epsilon .* \[0, inf\]"),
    (lambda: bounds.pure_dp_upper(log_kappa=-1.0), r"epsilon .* \[0, inf\]"),
    (lambda: bounds.approx_dp_upper(0.1, 1, 1.5), r"delta .* \[0, 1\]"),
    (lambda: bounds.approx_dp_upper(0.1, 1, -1e-9), r"delta .* \[0, 1\]"),
    (lambda: bounds.rdp_upper(0.1, [1.0], [1]), r"orders .* \(1, inf\)"),
    (lambda: bounds.rdp_upper(0.1, [], []), r"orders .* \(1, inf\)"),
    (lambda: bounds.rdp_upper(0.1, [2.0], [-1]), r"epsilons .* \[0, inf\]"),
    (lambda: bounds.rdp_upper(0.1, [2, 3], [1]), r"epsilons .* \[0, inf\]"),
    (lambda: bounds.zcdp_upper(0.1, -1), r"rho must lie in \[0, inf\]"),
    (lambda: bounds.gaussian_upper(0.1, -1), r"mu must lie in \[0, inf\]"),
    (lambda: bounds.laplace_upper(0.1, "x"), r"epsilon .* \[0, inf\]"),
    (lambda: bounds.dpsgd_upper(0.1, -1, 0.1, 1), r"noise_multiplier .*inf\]"),
    (lambda: bounds.dpsgd_upper(0.1, 1, 0, 1), r"sampling_probability .*1\]"),
    (lambda: bounds.dpsgd_upper(0.1, 1, 0.1, 0.5), "steps must lie in"),
    (lambda: bounds.dpsgd_upper(0.1, 1, 1, 1, "gdp"), "best, pld, rdp"),
  ],
)
def test_bad_input_names_argument_and_range(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_gaussian_in_logs_meets_the_plain_formula():
  kappa = np.array([1e-12, 1e-3, 0.5, 0.999])
  np.testing.assert_allclose(
    bounds.gaussian_upper(kappa, 0.7),
    special.ndtr(special.ndtri(kappa) + 0.7),
    rtol=1e-9,
  )
