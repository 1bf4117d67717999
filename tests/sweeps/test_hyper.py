"""Sweeps in the idiom of big_vision."""

import pytest

from informed_recon.sweeps import hyper
from informed_recon.types import UserError


def test_the_points_and_their_order():
  seeds = hyper.sweep("config.seed", range(2))
  rates = hyper.sweep("config.rate", [0.1, 0.2])
  assert hyper.product([seeds, rates]) == [
    {"config.seed": seed, "config.rate": rate}
    for seed in (0, 1)
    for rate in (0.1, 0.2)
  ]
  assert hyper.zipit([seeds, rates]) == [
    {"config.seed": 0, "config.rate": 0.1},
    {"config.seed": 1, "config.rate": 0.2},
  ]
  assert hyper.chainit([seeds, rates]) == seeds + rates
  assert hyper.product([]) == [{}]
  with pytest.raises(UserError, match="one length, got 2, 3"):
    hyper.zipit([seeds, hyper.sweep("config.l2", [0, 1, 2])])
