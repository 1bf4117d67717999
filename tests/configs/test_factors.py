"""What makes a model leak: every point is an experiment that can be run."""

import functools

import pytest

from informed_recon import choices, data, stages
from informed_recon.configs import factors
from informed_recon.storage import files

LOAD = functools.cache(data.load)


def _config(point):
  changes = {k: v for k, v in point.items() if k != "labels"}
  config = factors.get_config("quick")
  choices.choose(config, changes)
  config.lock().update_from_flattened_dict(changes)
  return config


@pytest.mark.parametrize("factor", factors.FACTORS)
def test_every_point_can_be_built(factor, tmp_path):
  name = factor.replace(" ", "_")
  points = [*factors.sweep(f"{name},quick")]
  assert points[0]["labels"] == dict(factor="baseline", seed=0)
  assert {p["labels"]["factor"] for p in points[1:]} == {factor}
  assert len(points) == 1 + len(factors.FACTORS[factor][1])
  for point in points[1:]:
    if "data.source" not in point:  # of what comes with pip
      stages.build(_config(point), tmp_path, load=LOAD)


def test_the_first_seed_of_all_points_comes_first():
  seeds = [point["seed"] for point in factors.sweep("")]
  assert seeds == sorted(seeds) and set(seeds) == {0, 1, 2}
  assert seeds.count(0) == seeds.count(2)
  for point in factors.sweep(""):
    assert (
      point["split.seed"]
      == 42 + point["seed"]
      == (42 + point["labels"]["seed"])
    )


def test_the_papers_sizes_are_a_word_away():
  config = factors.get_config("rounding,paper")
  assert (config.split.fixed, config.split.shadow) == (10_000, 50_000)
  assert config.data.name == "mnist"


# One of each kind: what is released, what is believed, how it is trained.
KINDS = {
  "rounding": "int4",
  "records replaced": "10",
  "augmentation": "shifts",
  "initial weights": "one of 10, tried",
  "average (EMA)": "0.9",
  "weight decay": "0.01",
}


@pytest.mark.slow
@pytest.mark.parametrize("factor", KINDS)
def test_a_point_runs(factor, tmp_path):
  point = {**factors.FACTORS[factor][1][KINDS[factor]], "seed": 0}
  results = stages.run(_config(point), tmp_path / "run")
  assert {"network", "simulation"} <= results["attacks"].keys()
  released = files.read_json(tmp_path / "run/results.json")["released_model"]
  assert 0 < released["test_accuracy_mean"] < released["train_accuracy_mean"]
