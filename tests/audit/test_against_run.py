"""The audit finds what `launch.run` finds on the same records."""

import pytest

from bench.audit_notebook import compare
from informed_recon.configs import default


@pytest.mark.slow
def test_the_audit_finds_what_a_run_finds(tiny_config, tmp_path):
  config = tiny_config()
  config.unlock()
  config.stages = ("shadow", "simulation", "evaluate", "report")
  config.split.update(targets=3, shadow=0)
  config.simulations.simulation = dict(default.SIMULATION, targets=3, steps=30)
  rows = list(compare(config.lock(), tmp_path / "run"))
  assert len(rows) == 3
  for row in rows:
    assert row["run_vouches"] and row["run_mse"] < 1e-6
    assert row["audit_vouches"] and row["audit_mse"] < 1e-6
    assert row["label_right"] and row["oracle_mse"] > 1e-3
