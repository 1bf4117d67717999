"""The reach curve: what it counts."""

import pytest

from informed_recon.report.curves import Result, reach
from informed_recon.types import UserError


def _point(rate, flagged, worst, **overrides):
  row = dict(
    mse_median=1e-9,
    flagged_rate=flagged,
    trusted_mse_max=worst,
    success_at_eta=dict(eta=1e-3, rate=rate, rate_ci95=[rate, rate]),
  )
  return Result(overrides, dict(attacks=dict(simulation=row)))


def test_what_it_says():
  figure, (sentence,) = reach.draw(
    [
      _point(1.0, 0.0, 1e-9, **{"training.steps": 100}),
      _point(0.5, 0.5, 1e-9, **{"training.learning_rate": 0.00312}),
      _point(0.9, 0.0, 0.05, **dict.fromkeys(reach.SPARED, "x"), a=1),
    ]
  )
  assert "In 1 of 3 settings every record is found; in 1 the" in sentence
  (axis,) = figure.axes
  labels = [text.get_text() for text in axis.get_yticklabels()]
  assert labels == ["steps 100", "learning rate 0.00312", "a 1"]
  assert [bar.get_width() for bar in axis.patches] == [1.0, 0.5, 0.9]


def test_a_sweep_without_searches():
  with pytest.raises(UserError, match="stage 'simulation'"):
    reach.draw([Result({}, dict(attacks=dict(mlp={})))])
