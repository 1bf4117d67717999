"""DP-SGD accounting against published values, exact formulas and a peer."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from scipy import integrate, special, stats

from informed_recon.dp import accounting, loss_distribution

DELTA = 1e-5
# (noise multiplier, sampling probability, steps), from one step to a million.
SETTINGS = [
  (1.0, 0.01, 1000),
  (0.3, 0.01, 1000),
  (0.1, 0.1, 100),
  (5.0, 0.01, 1000),
  (100.0, 0.01, 1000),
  (0.5, 1e-5, 100),
  (1.0, 0.5, 1),
  (1000.0, 0.999, 1),
  (2.0, 1e-4, 1_000_000),
]


@pytest.mark.parametrize(
  "setting, by_pld, by_rdp",
  [((1.0, 0.01, 1000), 1.83, 2.10), ((10.0, 1.0, 100), 4.38, 4.73)],
)
def test_check_values_of_epsilon(setting, by_pld, by_rdp):
  assert accounting.dpsgd_epsilon(*setting, DELTA) == pytest.approx(
    by_pld, abs=0.005
  )
  assert accounting.dpsgd_epsilon(
    *setting, DELTA, method="rdp"
  ) == pytest.approx(by_rdp, abs=0.005)


@pytest.mark.parametrize(
  "epsilon, exact, by_rdp",
  [
    (1, 37.31, 40.45),
    (10, 4.999, 5.296),
    (100, 0.9467, 0.9751),
    (1000, 0.2458, 0.2488),
    (1e4, 0.07287, 0.07458),
  ],
)
def test_check_values_of_full_batch_noise(epsilon, exact, by_rdp):
  found = accounting.calibrate_noise_multiplier(epsilon, DELTA, 1.0, 100)
  assert found == pytest.approx(exact, rel=3e-4)
  found = accounting.calibrate_noise_multiplier(
    epsilon, DELTA, 1.0, 100, method="rdp"
  )
  assert found == pytest.approx(by_rdp, rel=3e-4)


@pytest.mark.parametrize("sigma", [0.07, 1.0, 40.0, 2000.0])
def test_full_batch_epsilon_solves_the_exact_formula(sigma):
  epsilon = accounting.dpsgd_epsilon(sigma, 1.0, 100, DELTA)
  mu = 10 / sigma
  delta = special.ndtr(mu / 2 - epsilon / mu) - np.exp(
    epsilon + special.log_ndtr(-mu / 2 - epsilon / mu)
  )
  assert delta == pytest.approx(DELTA, rel=1e-6)


@pytest.mark.parametrize("epsilon", [0.01, 1.0, 30.0, 1e4])
@pytest.mark.parametrize(
  "q, steps, method",
  [
    (1.0, 100, "pld"),
    (1.0, 100, "rdp"),
    (0.01, 1000, "pld"),
    (0.01, 1000, "rdp"),
    (0.3, 10, "pld"),
    (0.3, 10, "rdp"),
  ],
)
def test_calibrated_noise_costs_what_was_asked(epsilon, q, steps, method):
  sigma = accounting.calibrate_noise_multiplier(
    epsilon, DELTA, q, steps, method
  )
  spent = accounting.dpsgd_epsilon(sigma, q, steps, DELTA, method)
  assert spent <= epsilon
  assert spent == pytest.approx(epsilon, rel=1e-3)


@pytest.mark.parametrize("setting", SETTINGS)
def test_epsilon_lies_between_two_sided_discretisations(setting):
  # The peer's optimistic rounding is a lower bound on the true epsilon.
  sigma, q, steps = setting
  interval = max(loss_distribution.grid_step(sigma, q), 1e-8)
  below = (
    privacy_loss_distribution.from_gaussian_mechanism(
      sigma,
      sampling_prob=q,
      value_discretization_interval=interval,
      pessimistic_estimate=False,
      use_connect_dots=False,
    )
    .self_compose(steps)
    .get_epsilon_for_delta(DELTA)
  )
  found = accounting.dpsgd_epsilon(sigma, q, steps, DELTA)
  assert below <= found
  assert found <= accounting.dpsgd_epsilon(sigma, q, steps, DELTA, "rdp") + 1e-9


@pytest.mark.parametrize("setting", SETTINGS[:5])
def test_a_finer_grid_gains_less_than_two_thousandths(setting):
  sigma, q, steps = setting
  finer = privacy_loss_distribution.from_gaussian_mechanism(
    sigma,
    sampling_prob=q,
    value_discretization_interval=loss_distribution.grid_step(sigma, q) / 4,
  ).self_compose(steps)
  assert accounting.dpsgd_epsilon(sigma, q, steps, DELTA) == pytest.approx(
    finer.get_epsilon_for_delta(DELTA), rel=2e-3
  )


@pytest.mark.parametrize("method", ["pld", "rdp"])
def test_epsilon_falls_with_noise_and_grows_with_data_use(method):
  def epsilon(sigma=1.0, q=0.02, steps=200, delta=DELTA):
    return accounting.dpsgd_epsilon(sigma, q, steps, delta, method)

  assert np.all(np.diff([epsilon(sigma=s) for s in (0.5, 1, 2, 8)]) < 0)
  assert np.all(np.diff([epsilon(q=q) for q in (0.005, 0.02, 0.3, 1)]) > 0)
  assert np.all(np.diff([epsilon(steps=t) for t in (1, 20, 200, 900)]) > 0)
  assert np.all(np.diff([epsilon(delta=d) for d in (1e-9, 1e-5, 0.1)]) < 0)


@pytest.mark.parametrize("method", ["pld", "rdp"])
@pytest.mark.parametrize("q", [1e-4, 0.01, 1.0])
def test_limits_of_noise(q, method):
  assert accounting.dpsgd_epsilon(0.0, q, 10, DELTA, method) == math.inf
  for sigma in (1e12, 1e20, math.inf):
    assert accounting.dpsgd_epsilon(sigma, q, 10, DELTA, method) == 0.0


@pytest.mark.parametrize("method", ["pld", "rdp"])
def test_a_record_drawn_less_often_than_delta_needs_no_noise(method):
  # Ten steps at q = 0.01 draw the record with probability 0.0956.
  assert accounting.dpsgd_epsilon(0.0, 0.01, 10, 0.096, method) == 0.0
  assert accounting.dpsgd_epsilon(0.0, 0.01, 10, 0.095, method) == math.inf
  assert accounting.calibrate_noise_multiplier(0.1, 0.1, 0.01, 10, method) == 0
  found = accounting.calibrate_noise_multiplier(0.1, 0.09, 0.01, 10, method)
  assert found > 0


@pytest.mark.parametrize("method", ["pld", "rdp"])
def test_calibration_where_epsilon_drops_to_zero_at_once(method):
  sigma = accounting.calibrate_noise_multiplier(1e-3, DELTA, 0.01, 10, method)
  assert accounting.dpsgd_epsilon(sigma, 0.01, 10, DELTA, method) <= 1e-3


def test_calibration_ends_where_the_exact_formula_runs_out_of_digits():
  sigma = accounting.calibrate_noise_multiplier(1e-12, 1e-15, 1.0, 1)
  assert accounting.dpsgd_epsilon(sigma, 1.0, 1, 1e-15) <= 1e-12


@pytest.mark.parametrize("sigma", [1e-3, 1e-4, 1e-6])
def test_next_to_no_noise_stays_finite_and_costs_no_less_than_one_hit(sigma):
  # Some step samples the target with probability above delta, and then shows a
  # loss of about 1 / (2 sigma^2) + log q.
  found = accounting.dpsgd_epsilon(sigma, 0.1, 10, DELTA)
  assert 0.5 / sigma**2 < found < math.inf


def test_rdp_curve_of_full_batch_is_alpha_rho():
  orders = np.array([1.001, 1.5, 2.0, 33.0])
  curve = accounting.rdp_curve(4.0, 1.0, 50, orders)
  np.testing.assert_allclose(curve, orders * 50 / (2 * 16), rtol=1e-12)


def _renyi_divergence(order, q, sigma):
  def integrand(x):
    ratio = 1 - q + q * np.exp((x - 0.5 / sigma) / sigma)
    return ratio**order * stats.norm.pdf(x)

  moment = integrate.quad(integrand, -40, 40, limit=400)[0]
  return math.log(moment) / (order - 1)


@pytest.mark.parametrize("q", [0.1, 0.5])
def test_rdp_curve_is_exact_at_whole_orders_and_a_bound_between(q):
  # At these settings the peer's series overshoots or fails between the orders.
  orders = np.array([1.05, 1.5, 1.8, 2.0, 2.5, 3.0, 4.0])
  found = accounting.rdp_curve(1.0, q, 7, orders)
  exact = 7 * np.array([_renyi_divergence(a, q, 1.0) for a in orders])
  whole = orders % 1 == 0
  np.testing.assert_allclose(found[whole], exact[whole], rtol=1e-7)
  assert np.all(found >= exact * (1 - 1e-7))
  # The divergence itself grows with the order, so the next one caps it.
  assert np.all(found[:3] <= found[3] * (1 + 1e-9))
  assert found[3] < found[4] < found[5]


def test_rdp_curve_beyond_the_last_whole_order():
  found = accounting.rdp_curve(1.0, 0.1, 1, [2.0, 2.5])
  assert found[1] >= _renyi_divergence(2.5, 0.1, 1.0)
  assert np.all(accounting.rdp_curve(1e9, 0.1, 100, [2.0, 3.0]) >= 0)


@pytest.mark.filterwarnings("error")
def test_many_faint_steps_are_not_mistaken_for_none():
  # mu = 1 in a million steps, each far below delta by itself.
  found = accounting.dpsgd_epsilon(1e3, 1.0, 10**6, 1e-3)
  assert found == pytest.approx(accounting.dpsgd_epsilon(1, 1.0, 1, 1e-3))
  assert found > 1
  assert accounting.dpsgd_epsilon(1e20, 1.0, 1, 1e-300) >= 0


def test_failing_series_leave_no_line_in_the_log(caplog, capfd):
  accounting.rdp_curve(1.0, 0.5, 1, [1.1, 1.2, 2.0])
  assert not caplog.records
  assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
  "change, message",
  [
    ({"noise_multiplier": -1.0}, r"noise_multiplier must lie in \[0, inf\]"),
    ({"noise_multiplier": math.nan}, r"noise_multiplier must lie in"),
    ({"sampling_probability": 0.0}, r"sampling_probability .* \(0, 1\]"),
    ({"sampling_probability": 1.5}, r"sampling_probability .* \(0, 1\]"),
    ({"steps": 0}, "steps must lie in the integers from 1"),
    ({"steps": 2.5}, "steps must lie in the integers from 1"),
    ({"delta": 0.0}, r"delta must lie in"),
    ({"delta": 1.0}, r"delta must lie in"),
    ({"delta": 1e-14}, r"delta must lie in \[1e-12, 1\)"),
    ({"method": "moments"}, "method must be one of pld, rdp"),
  ],
)
def test_bad_input_names_argument_and_range(change, message):
  good = {
    "noise_multiplier": 1.0,
    "sampling_probability": 0.1,
    "steps": 10,
    "delta": DELTA,
  }
  with pytest.raises(ValueError, match=message):
    accounting.dpsgd_epsilon(**{**good, **change})


@pytest.mark.parametrize("epsilon", [0.0, -1.0, math.inf, "much"])
def test_calibration_refuses_epsilon_out_of_range(epsilon):
  with pytest.raises(ValueError, match=r"epsilon must lie in \(0, inf\)"):
    accounting.calibrate_noise_multiplier(epsilon, DELTA, 1.0, 100)


@pytest.mark.parametrize(
  "orders", [[1.0, 2.0], [0.5], [], [math.nan], [3.0, 2.0]]
)
def test_rdp_curve_refuses_orders_out_of_range(orders):
  with pytest.raises(ValueError, match=r"orders must lie in \(1, inf\)"):
    accounting.rdp_curve(1.0, 0.1, 10, orders)


def test_matches_the_peer_accountant_end_to_end():
  event = dp_accounting.SelfComposedDpEvent(
    dp_accounting.PoissonSampledDpEvent(
      0.05, dp_accounting.GaussianDpEvent(1.3)
    ),
    40,
  )
  peer = dp_accounting.pld.PLDAccountant().compose(event)
  assert accounting.dpsgd_epsilon(1.3, 0.05, 40, DELTA) == pytest.approx(
    peer.get_epsilon(DELTA), rel=2e-3
  )
