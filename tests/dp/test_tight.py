"""Tightened bounds on a grid: an independent computation of each, and the
likelihood-ratio attack, which none may fall below."""

import math

import numpy as np
import pytest
from scipy import optimize, special

from informed_recon.dp import bounds, candidates, loss_distribution, monte_carlo

RNG = np.random.default_rng(0)
GRID = [  # log kappa, epsilon
  (float(np.log(RNG.uniform(1e-6, 1) if i % 2 else 10 ** RNG.uniform(-12, 0))),
   float(10 ** RNG.uniform(-2, 1)))
  for i in range(200)
]  # fmt: skip


def test_pure_and_approximate_dp_are_the_linear_programme():
  """max P(S) over all pairs on {S, not S} that both directions allow."""
  for log_k, epsilon in GRID:
    for delta in (0.0, 1e-5, 0.03):
      k, e = math.exp(log_k), math.exp(epsilon)
      # g <= e k + delta and 1 - k <= e (1 - g) + delta
      found = optimize.linprog(
        [-1.0], A_ub=[[1.0], [e]], b_ub=[e * k + delta, e + delta - 1 + k],
        bounds=[(0, 1)],
      )  # fmt: skip
      assert bounds.approx_dp_upper(k, epsilon, delta) == pytest.approx(
        min(1.0, -found.fun), rel=1e-9, abs=1e-9
      )


def _divergence(g, k, alpha):
  return math.log(
    g**alpha * k ** (1 - alpha) + (1 - g) ** alpha * (1 - k) ** (1 - alpha)
  ) / (alpha - 1)


def test_renyi_is_the_root_of_the_whole_divergence():
  for log_k, epsilon in GRID:
    k = math.exp(log_k)
    if k > 1 - 1e-9:
      continue
    for alpha in (1.5, 2.0, 6.0):
      found = bounds.rdp_upper(k, [alpha], [epsilon])
      if found < 1:
        assert _divergence(found, k, alpha) == pytest.approx(
          epsilon, rel=1e-6, abs=1e-9
        )
      else:
        assert _divergence(1 - 1e-9, k, alpha) <= epsilon * (1 + 1e-6)
      first_term = min(1.0, (k * math.exp(epsilon)) ** (1 - 1 / alpha))
      assert k <= found <= first_term * (1 + 1e-12)


def test_zcdp_is_the_least_of_all_orders_and_above_the_gaussian_attack():
  """The threshold test on a Gaussian release attains gaussian_upper."""
  orders = 1 + np.geomspace(1e-4, 1e4, 3000)
  for log_k, mu in GRID:
    rho = mu**2 / 2
    found = bounds.zcdp_upper(log_kappa=log_k, rho=rho)
    dense = bounds.rdp_upper(None, orders, orders * rho, log_kappa=log_k)
    assert found == pytest.approx(dense, rel=2e-3)
    assert found >= bounds.gaussian_upper(log_kappa=log_k, mu=mu) * (1 - 1e-9)


def test_dpsgd_is_never_below_the_likelihood_ratio_attack():
  """One sampled step, whose best test is a threshold: 200 settings."""
  for i in range(200):
    sigma, q = 10 ** RNG.uniform(-0.7, 1), 10 ** RNG.uniform(-4, -0.05)
    kappa = 10 ** RNG.uniform(-6, -0.05)
    cut = special.ndtri(1 - kappa)  # in deviations of the noise
    power = (1 - q) * kappa + q * special.ndtr(1 / sigma - cut)
    found = bounds.dpsgd_upper(kappa, sigma, q, 1, "pld")
    assert found >= power * (1 - 1e-9), (sigma, q, kappa)
    if i % 4 == 0:
      assert found == pytest.approx(power, rel=5e-3, abs=1e-9)


def test_heavy_tails_have_a_grid_that_follows_them():
  """Five draws a run at most: the law by hand, from the number of draws."""
  found = bounds.dpsgd_upper(0.5, 0.2, 1e-5, 10**5)
  assert found == pytest.approx(0.7651, abs=3e-4)
  finer, _ = loss_distribution.delta_curve(0.2, 1e-5, 10**5)
  assert len(finer) < loss_distribution.LARGEST_GRID


@pytest.mark.parametrize(
  "upper, parameters",
  [
    (bounds.log_pure_dp_upper, (1.0,)),
    (bounds.log_approx_dp_upper, (1.0, 0.0)),
    (bounds.log_rdp_upper, ([2.0, 8.0], [0.5, 1.0])),
    (bounds.log_zcdp_upper, (0.5,)),
    (bounds.log_gaussian_upper, (1.0,)),
    (bounds.log_laplace_upper, (1.0,)),
    (bounds.log_dpsgd_upper, (1.0, 0.01, 100)),
  ],
)
def test_logarithms_where_probabilities_underflow(upper, parameters):
  log_k = np.array([-1200.0, -900.0, -5.0, -0.1])
  found = upper(None, *parameters, log_kappa=log_k)
  assert np.all(np.diff(found) > 0) and np.all(found >= log_k)
  assert found[0] < -500  # far below the smallest float's logarithm
  plain = upper.func(None, *parameters, log_kappa=log_k[2:])
  np.testing.assert_allclose(np.exp(found[2:]), plain, rtol=1e-12)


def test_more_steps_than_memory_holds_are_refused_at_once():
  for call in (
    lambda: bounds.dpsgd_upper(0.1, 1.0, 0.5, 10**9),
    lambda: bounds.accounting.dpsgd_epsilon(1.0, 0.5, 10**9, 1e-5),
  ):
    with pytest.raises(
      ValueError, match="steps = 1,000,000,000 .*method='rdp'"
    ):
      call()
  assert bounds.dpsgd_upper(0.1, 1.0, 0.5, 10**9, "rdp") == 1.0


# Success of the best attack on m = 8 (README, science): bound, orthogonal, and
# regular simplex, of 400,000 and more draws.
EIGHT = [(0.30, 0.271, 0.283), (0.50, 0.435, 0.462), (0.80, 0.709, 0.747)]


@pytest.mark.parametrize("bound, orthogonal, simplex", EIGHT)
def test_one_release_among_eight(bound, orthogonal, simplex):
  mu = special.ndtri(bound) - special.ndtri(1 / 8)
  found = candidates.single_release_upper(8, mu)
  assert simplex < found < bound
  assert found == pytest.approx(simplex, rel=0.04)
  gram = mu**2 * (np.eye(8) - 1 / 8) * 8 / 7
  by_gram = candidates.gram_upper(gram)
  assert by_gram == pytest.approx(found, rel=1e-3)
  # Orthogonal means lie in a smaller ball about their own mean.
  assert orthogonal < candidates.gram_upper(mu**2 * np.eye(8)) < found


def test_two_antipodal_candidates_meet_the_bound():
  for mu in (0.1, 1.0, 2.0):
    found = candidates.single_release_upper(2, mu)
    assert found == pytest.approx(special.ndtr(mu), rel=1e-9)
    assert found == pytest.approx(bounds.gaussian_upper(0.5, mu), rel=1e-9)


def test_no_gram_matrix_is_bounded_below_its_best_attack():
  rng = np.random.default_rng(1)
  grams = []
  for i in range(200):
    m, rank = 8, rng.integers(1, 9)
    means = rng.standard_normal((m, rank)) * 10 ** rng.uniform(-1, 0.7)
    grams.append(means @ means.T + 3.0 * (i % 2))  # a shift tells nothing
  best = monte_carlo.identification_estimate(np.stack(grams), samples=4000)
  found = candidates.gram_upper(np.stack(grams))
  assert np.all(found >= best - 3 * np.sqrt(best * (1 - best) / 4000))
  assert np.mean(found < 0.9) > 0.2  # and says something
  with pytest.raises(ValueError, match="gram must be finite and square"):
    candidates.gram_upper(np.zeros((2, 3)))


def test_unequal_candidates_against_the_primal_problem():
  """Any way to divide kappa gives a value below; the best one meets it."""
  rng = np.random.default_rng(2)

  def upper(kappa, mu=1.3):
    return bounds.gaussian_upper(np.maximum(kappa, 1e-300), mu)

  for _ in range(20):
    m = rng.integers(2, 7)
    pi = rng.dirichlet(np.full(m, 0.7))
    pi /= pi.sum()
    found = candidates.prior_upper(pi, upper)
    divided = rng.dirichlet(np.ones(m), size=200)
    assert np.all(found >= (upper(divided) @ pi) * (1 - 1e-9))

    def lost(free, pi=pi):
      share = special.softmax(np.append(free, 0.0))
      return -float(pi @ upper(share))

    primal = -min(
      optimize.minimize(lost, np.log(s[:-1] / s[-1]), method="Nelder-Mead").fun
      for s in (pi, np.full(m, 1 / m))
    )
    assert found == pytest.approx(primal, rel=2e-3)
    assert found <= upper(np.array(pi.max())) * (1 + 1e-12)
  with pytest.raises(ValueError, match="sum to 1"):
    candidates.prior_upper([0.5, 0.4], upper)
