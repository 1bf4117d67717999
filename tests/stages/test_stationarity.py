"""The stationarity stage: files, resumption, report, bad settings."""

import pytest

from informed_recon import stages
from informed_recon.configs import default
from informed_recon.storage import files
from informed_recon.types import UserError


@pytest.fixture
def make_config(tiny_config):
  def make(**changes):
    config = tiny_config()
    config.unlock()
    config.stages = ("shadow", "stationarity", "evaluate", "report")
    config.split.update(targets=6, shadow=0)
    config.threat.update(shared_init=False, shared_order=False)
    config.evaluation.eta = 1e-6
    config.stationarity.found = dict(
      default.STATIONARITY, targets=3, tolerance=1e-9, l2=1e-2
    )
    config.update_from_flattened_dict(changes)
    return config.lock()

  return make


def test_reads_records_off_and_goes_on_where_it_was(make_config, tmp_path):
  results = stages.run(make_config(), tmp_path)
  row = results["attacks"]["found"]
  assert row["targets"] == 3 and row["mse_mean"] < 1e-6
  assert row["label_accuracy"] == 1 and row["flagged_rate"] == 0
  assert row["trusted_wrong"] == 0 and row["success_rate"] == 1
  page = (tmp_path / "report.html").read_text()
  assert "off the released weights (found)" in page
  assert "not near a stationary point" not in page
  assert (tmp_path / "figures/stationarity.png").exists()

  paths = sorted((tmp_path / "stationarity/found").iterdir())
  assert [p.name for p in paths] == [f"target-{i:05d}.npz" for i in range(3)]
  before = files.read_arrays(paths[1])
  assert before["short"] < 1e-4
  (tmp_path / "attacks/found.npz").unlink()
  paths[1].unlink()
  kept = {p: p.stat().st_mtime_ns for p in (paths[0], paths[2])}
  assert stages.run(make_config(), tmp_path)["attacks"]["found"] == row
  assert {p: p.stat().st_mtime_ns for p in kept} == kept
  assert files.read_arrays(paths[1])["residual"] == before["residual"]


def test_models_far_from_a_stationary_point_are_said_to_be(
  make_config, tmp_path
):
  found = {"stationarity.found.tolerance": 0.0, "stationarity.found.l2": 0.0}
  row = stages.run(make_config(**found), tmp_path)["attacks"]["found"]
  assert row["flagged_rate"] == 1 and row["trusted_wrong"] == 0
  assert "not near a stationary point" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"stationarity.found.targets": -1}, "targets must be at least 0, got -1"),
    ({"stationarity.found.tolerance": -1.0}, "tolerance must be at least 0"),
    ({"stationarity.found.l2": float("nan")}, "l2 must be at least 0"),
    ({"stationarity.found.l2": 0.0}, "give tolerance and l2 both"),
    ({"stages": ("stationarity", "evaluate")}, "put 'shadow' before"),
  ],
)
def test_settings_that_make_no_sense(make_config, tmp_path, changes, message):
  with pytest.raises(UserError, match=message) as error:
    stages.build(make_config(**changes), tmp_path / "run")
  assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_the_stage_wants_something_to_do(make_config, tmp_path):
  config = make_config()
  config.unlock()
  del config.stationarity.found
  with pytest.raises(UserError, match="config.stationarity is empty"):
    stages.build(config, tmp_path)


@pytest.mark.slow
def test_noise_of_private_training_flags_the_answers(make_config, tmp_path):
  config = make_config(
    **{
      "training.privacy.mechanism": "dp_sgd",
      "training.privacy.noise_multiplier": 1.0,
      "training.l2": 1e-2,
      "training.steps": 500,
      "stationarity.found.tolerance": 0.0,
      "stationarity.found.l2": 0.0,
      "stationarity.found.targets": 6,
    }
  )
  results = stages.run(config, tmp_path)
  row = results["attacks"]["found"]
  assert row["flagged_rate"] == 1 and row["trusted_wrong"] == 0
  bound = results["privacy"]["success_upper"]["eta"]["tight"]
  assert row["success_at_eta"]["rate"] <= bound
