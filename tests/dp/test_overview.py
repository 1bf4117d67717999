"""Bounds side by side: each the one of `bounds`, and in order."""

import math

import pytest

from informed_recon.dp import accounting, bounds, overview


def _mechanism(sigma, q, steps, delta=1e-5):
  epsilon = accounting.dpsgd_epsilon(sigma, q, steps, delta)
  return dict(
    noise_multiplier=sigma,
    sampling_probability=q,
    steps=steps,
    delta=delta,
    epsilon=epsilon if math.isfinite(epsilon) else None,
  )


@pytest.mark.parametrize(
  "sigma, q, steps", [(10.0, 1.0, 100), (1.0, 0.01, 500)]
)
def test_each_is_the_bound_of_its_name(sigma, q, steps):
  privacy = _mechanism(sigma, q, steps)
  found = overview.all_upper(privacy, 0.01)
  assert found["tight"] == bounds.dpsgd_upper(0.01, sigma, q, steps)
  assert found["rdp"] == bounds.dpsgd_upper(0.01, sigma, q, steps, "rdp")
  assert found["epsilon_delta"] == pytest.approx(
    min(1.0, 0.01 * math.exp(privacy["epsilon"]) + 1e-5)
  )
  assert found["tight"] <= min(found.values())
  assert ("zcdp" in found) == (q == 1)
  assert overview.all_upper(privacy, log_kappa=math.log(0.01)) == pytest.approx(
    found
  )


def test_without_noise_nothing_is_bounded():
  found = overview.all_upper(_mechanism(0.0, 1.0, 10), 0.1)
  assert set(found.values()) == {1.0}
