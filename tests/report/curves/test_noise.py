"""The noise curve: what it concludes from results."""

import pytest

from informed_recon.report.curves import Result, noise
from informed_recon.types import UserError


def _point(scale, mse):
  row = dict(
    mse_median=mse,
    identification={"8": 0.5, "64": 0.25},
    identification_ci95={"8": [0.4, 0.6], "64": [0.2, 0.3]},
  )
  return Result(
    {noise.AXIS: scale},
    dict(
      attacks=dict(convex=row),
      baselines=dict(mean_image=row | dict(mse_median=0.07)),
      released_model=dict(fisher_mse_median=mse / 2, test_accuracy_mean=0.9),
      privacy=dict(
        epsilon=1 / scale,
        success_upper={"8": dict(tight=1.0), "64": dict(tight=0.9)},
      ),
    ),
  )


def test_what_it_says():
  points = [_point(1.0, 0.09), _point(1e-6, 1e-9), _point(1e-2, 0.05)]
  figure, sentences = noise.draw(points)
  assert figure.axes[1].get_ylabel() == "identified among 64"
  assert "up to noise of 0.01" in sentences[0]
  assert "epsilon is 100" in sentences[0]
  _, sentences = noise.draw([_point(1.0, 0.09)])
  assert "at no noise" in sentences[0]


def test_a_sweep_over_something_else():
  with pytest.raises(UserError, match="convex.noise"):
    noise.draw([Result({"seed": 1}, {})])
