"""The convex stage with noise, and the table for people."""

import csv

import numpy as np
import pytest

from informed_recon import stages
from informed_recon.configs import convex
from informed_recon.storage import files
from informed_recon.types import UserError


def _config(**changes):
  config = convex.get_config("quick")
  config.split.update(accuracy=40, targets=8, fixed=60)
  config.convex.update(l2=1.0, penalise_intercept=True, **changes)
  config.evaluation.classifier.epochs = 1
  config.stages = ("convex", "evaluate")
  return config


@pytest.mark.slow  # test_damage.py runs one
def test_coefficients_with_noise(tmp_path):
  config = _config(noise=1e-5)
  config.split.targets = 3
  config.evaluation.candidates = (2,)
  results = stages.run(config, tmp_path)
  exact, noisy = (results["attacks"][k] for k in ("convex", "convex_noisy"))
  assert noisy["mse_median"] < exact["mse_median"]
  floor = results["released_model"]["fisher_mse_median"]
  assert floor / 100 < noisy["mse_median"] < 100 * floor
  privacy = results["privacy"]
  assert privacy["mechanism"] == "output_perturbation"
  sensitivity = np.sqrt(2) * np.sqrt(65)  # of 8x8 pixels and an intercept
  np.testing.assert_allclose(privacy["noise_multiplier"], 1e-5 / sensitivity)
  assert privacy["success_upper"]["2"]["tight"] == 1.0
  weights = files.read_arrays(tmp_path / "convex/part-00000.npz")["weights"]
  assert weights.shape == (3, 10, 64)


def test_a_row_a_target_the_most_exposed_first(tmp_path):
  results = stages.run(_config(), tmp_path)
  with open(tmp_path / "evaluation/per_target.csv") as file:
    rows = list(csv.DictReader(file))
  errors = [float(row["convex/mse"]) for row in rows]
  assert errors == sorted(errors) and len(errors) == 8
  np.testing.assert_allclose(
    np.mean(errors), results["attacks"]["convex"]["mse_mean"]
  )
  assert {row["convex/identifiable"] for row in rows} <= {"True", "False"}


@pytest.mark.parametrize(
  "changes, match",
  [
    (dict(noise=-1.0), "noise"),
    (dict(noise=1.0, penalise_intercept=False), "penalise_intercept"),
    (dict(noise=1.0, l2=0.0), "l2"),
  ],
)
def test_noise_that_guarantees_nothing(tmp_path, changes, match):
  config = _config()
  config.convex.update(changes)
  with pytest.raises(UserError, match=match):
    stages.run(config, tmp_path)
