"""The simulation stage: its files, its resumption, its threat models."""

import json

import numpy as np
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
    config.stages = ("shadow", "simulation", "evaluate", "report")
    config.split.update(targets=6, shadow=0)
    config.simulations.found = dict(default.SIMULATION, targets=3, steps=30)
    config.update_from_flattened_dict(changes)
    return config.lock()

  return make


def test_finds_records_and_goes_on_where_it_was(make_config, tmp_path):
  config = make_config()
  results = stages.run(config, tmp_path)
  row = results["attacks"]["found"]
  assert row["targets"] == 3 and row["mse_mean"] < 1e-6
  assert row["label_accuracy"] == 1 and row["flagged_rate"] == 0
  assert row["trusted_wrong_labels"] == 0 and row["training_passes_median"] > 3
  assert "ridge" not in results["baselines"]
  page = (tmp_path / "report.html").read_text()
  assert "runs through training" in page
  assert (tmp_path / "figures/searches.png").exists()
  table = (tmp_path / "evaluation/per_target.csv").read_text().splitlines()
  assert len(table) == 7 and sum(line.count(",,") > 0 for line in table) == 3

  paths = sorted((tmp_path / "simulation/found").iterdir())
  assert [p.name for p in paths] == [f"target-{i:05d}.npz" for i in range(3)]
  (tmp_path / "attacks/found.npz").unlink()
  before = files.read_arrays(paths[1])
  paths[1].unlink()
  kept = {p: p.stat().st_mtime_ns for p in (paths[0], paths[2])}
  stages.run(config, tmp_path)
  assert {p: p.stat().st_mtime_ns for p in kept} == kept
  np.testing.assert_allclose(
    files.read_arrays(paths[1])["x"], before["x"], atol=1e-4
  )


@pytest.mark.slow  # tests/attacks/simulation has what a sample costs
def test_a_sample_finds_the_same_for_less(make_config, tmp_path):
  rows, ways = [], []
  for sample in (0, 15):
    workdir = tmp_path / str(sample)
    config = make_config(**{"simulations.found.sample": sample})
    rows.append(stages.run(config, workdir)["attacks"]["found"])
    path = workdir / "simulation/found/target-00000.npz"
    ways.append(files.read_arrays(path)["iterates"][-1])
  assert all(row["mse_mean"] < 1e-6 for row in rows)
  whole, sampled = (row["training_passes_median"] for row in rows)
  assert sampled < 0.8 * whole
  assert not np.array_equal(*ways)  # another Jacobian, not a lower price alone


@pytest.mark.slow
@pytest.mark.parametrize("search", [False, True])
def test_unknown_initialisation(make_config, tmp_path, search):
  """Unknown, it is reported; among few, it is found."""
  config = make_config(
    **{
      "threat.shared_init": False,
      "simulations.found.search_keys": search,
      "simulations.found.steps": 25,
    }
  )
  row = stages.run(config, tmp_path)["attacks"]["found"]
  if search:
    assert row["mse_mean"] < 1e-6 and row["flagged_rate"] == 0
  else:
    assert row["mse_mean"] > 1e-2 and row["flagged_rate"] == 1


@pytest.mark.parametrize(
  "within", [0.2, pytest.param(0.0, marks=pytest.mark.slow)]
)
def test_a_wrong_rate_is_reported_or_sought(make_config, tmp_path, within):
  """The released models learned at a rate a tenth above the one believed."""
  config = make_config(
    **{
      "truth.rate": 1.1,
      "simulations.found.search_rate": within,
      "simulations.found.targets": 1,
      "simulations.found.steps": 40,
    }
  )
  row = stages.run(config, tmp_path)["attacks"]["found"]
  if within:
    assert row["mse_mean"] < 1e-6 and row["flagged_rate"] == 0
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rates = [json.loads(line).get("rate_found", 1.1) for line in lines]
    np.testing.assert_allclose(rates, 1.1, rtol=1e-4)
  else:
    assert row["mse_mean"] > 1e-3 and row["flagged_rate"] == 1


def test_a_rate_beyond_what_is_sought_is_reported(make_config, tmp_path):
  """Half as much again where a tenth is allowed for: nothing is vouched for."""
  config = make_config(
    **{
      "truth.rate": 1.5,
      "simulations.found.search_rate": 0.1,
      "simulations.found.targets": 2,
      "simulations.found.steps": 15,
    }
  )
  row = stages.run(config, tmp_path)["attacks"]["found"]
  assert row["flagged_rate"] == 1


@pytest.mark.slow
def test_noise_of_private_training_flags_the_answers(make_config, tmp_path):
  config = make_config(
    **{
      "training.privacy.mechanism": "dp_sgd",
      "training.privacy.noise_multiplier": 1.0,
      "simulations.found.prior_weight": 1e-3,
      "simulations.found.steps": 10,
    }
  )
  row = stages.run(config, tmp_path)["attacks"]["found"]
  assert row["flagged_rate"] == 1


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"simulations.found.starts": ("nobody",)}, "unknown 'nobody'"),
    ({"simulations.found.starts": ()}, "needs starts"),
    ({"simulations.found.starts": ("bilinear",)}, "'reconstructor' before"),
    ({"simulations.found.targets": -1}, "at least"),
    ({"simulations.found.search_rate": 1.0}, "search_rate must lie in"),
    (
      {
        "simulations.found.search_rate": 0.1,
        "simulations.found.prior_weight": 1,
      },
      "do not go together",
    ),
    ({"simulations.found.cg_steps": 0}, "cg_steps"),
    ({"simulations.found.sample": -1}, "sample must .* got -1"),
    ({"simulations.found.sample": 5, "training.batch_size": 4}, "full batches"),
    ({"perf.simulation_batch": 0}, "simulation_batch"),
  ],
)
def test_settings_that_make_no_sense(make_config, tmp_path, changes, message):
  with pytest.raises(UserError, match=message):
    stages.build(make_config(**changes), tmp_path)


def test_the_stage_wants_something_to_do(make_config, tmp_path):
  config = make_config()
  config.unlock()
  del config.simulations.found
  with pytest.raises(UserError, match="config.simulations is empty"):
    stages.build(config, tmp_path)
