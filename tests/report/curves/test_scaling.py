"""The scaling curve against a law put in by hand."""

import numpy as np
import pytest

from informed_recon.report.curves import Result, scaling
from informed_recon.types import UserError

SIZES = (100, 200, 400, 800)


def _results(sizes=SIZES, seeds=3, scale=2.0, exponent=0.5, noise=0.05):
  rng = np.random.default_rng(0)
  out = []
  for seed in range(seeds):
    for n in sizes:
      error = scale * n**-exponent * np.exp(noise * rng.normal())
      row = dict(mse_mean=error, mse_mean_ci95=[error / 2, error * 2])
      oracle = dict(mse_mean=0.1, mse_mean_ci95=[0.09, 0.11])
      out.append(
        Result(
          {"split.shadow": n, "seed": seed},
          dict(
            attacks=dict(bilinear=row),
            baselines=dict(nearest_neighbour_oracle=oracle),
          ),
        )
      )
  return out


def test_the_power_law_is_found_and_its_interval_covers():
  n = np.repeat([100, 200, 400, 800, 1600], 4).astype(float)
  covered = 0
  for seed in range(200):
    rng = np.random.default_rng(seed)
    error = 2 * n**-0.5 * np.exp(0.1 * rng.normal(size=len(n)))
    law = scaling.power_law(n, error)
    covered += law.exponent_ci95[0] < 0.5 < law.exponent_ci95[1]
  assert 180 <= covered <= 199  # 95% of 200, within four standard errors
  exact = scaling.power_law(n, 2 * n**-0.5)
  assert exact.exponent == pytest.approx(0.5)
  assert exact.scale == pytest.approx(2)
  np.testing.assert_allclose(exact(n), 2 * n**-0.5)


def test_what_the_figure_says():
  figure, sentences = scaling.draw(_results(noise=0.0))
  text = " ".join(sentences)
  assert "falls as N^-0.50 (95% interval of the exponent 0.50 to 0.50" in text
  assert "With 800 shadow models bilinear has an error of 0.0707" in text
  assert "From 800 on the whole interval" in text  # 0.1 at N = 400 does not
  lines = figure.axes[0].get_lines()
  assert len(lines) >= 3 and figure.axes[0].get_xscale() == "log"


def test_one_seed_takes_the_interval_over_targets():
  _, sentences = scaling.draw(_results(seeds=1, noise=0.0))
  error = 2 * 800**-0.5
  assert f"[{error / 2:.4f}, {error * 2:.4f}]" in sentences[0]


def test_two_sizes_make_no_law():
  _, sentences = scaling.draw(_results(sizes=(100, 200)))
  assert len(sentences) == 1 and "nowhere below" in sentences[0]


def test_a_sweep_over_something_else():
  results = [r._replace(overrides={"seed": 0}) for r in _results()]
  with pytest.raises(UserError, match="wants a sweep over split.shadow"):
    scaling.draw(results)
