"""The stage that plays the prior-aware attack: its numbers, and resuming."""

import functools
import json
import shutil

import numpy as np
import pytest

from informed_recon import stages
from informed_recon.configs import dp_prior_aware
from informed_recon.dp import accounting, bounds, converse
from informed_recon.report import prior_aware as report
from informed_recon.stages import prior_aware as stage
from informed_recon.storage import files
from informed_recon.types import UserError

# The quick form is small enough, and compiled for another test anyway.
BOUND, TRIALS, CHUNK, STEPS, DELTA = (0.3, 0.8), 60, 20, 20, 1e-5


def _config(**changes):
  config = dp_prior_aware.get_config("quick")
  config.update_from_flattened_dict(changes)
  return config.lock()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  workdir = tmp_path_factory.mktemp("prior") / "run"
  stages.run(_config(), workdir)
  return workdir


def _results(workdir):
  results = files.read_json(workdir / "results.json")
  del results["timing_seconds"], results["environment"]
  return results


def _trials(workdir, point):
  parts = sorted((workdir / f"prior_aware/point-{point}").glob("part-*.npz"))
  arrays = [files.read_arrays(path) for path in parts]
  return stage.Trial(
    *(np.concatenate([a[name] for a in arrays]) for name in stage.Trial._fields)
  )


def test_the_numbers_follow_from_the_trials(finished):
  privacy = _results(finished)["privacy"]
  assert privacy["neighbouring_relation"] == "add/remove-one"
  assert len(privacy["prior_aware"]) == 2
  for i, point in enumerate(privacy["prior_aware"]):
    sigma, trials = point["noise_multiplier"], _trials(finished, i)
    assert point["trials"] == len(trials.truth) == TRIALS
    assert point["epsilon"] == accounting.dpsgd_epsilon(
      sigma, 1.0, STEPS, DELTA
    )
    assert point["test_accuracy_mean"] == pytest.approx(trials.accuracy.mean())
    assert point["identification"]["8"]["success_upper"] == pytest.approx(
      BOUND[i]
    )
    for m, row in point["identification"].items():
      m = int(m)
      hits = 0
      for truth, scores in zip(trials.truth, trials.log_posterior):
        first = truth - truth % m
        hits += first + np.argmax(scores[first : first + m]) == truth
      assert row["successes"] == hits
      assert row["success_rate"] == hits / TRIALS and row["kappa"] == 1 / m
      low, high = row["success_rate_ci99"]
      assert low < row["success_rate"] < high
      upper = bounds.dpsgd_upper(1 / m, sigma, 1.0, STEPS)
      assert row["success_upper"] == upper
      assert not row["refutes_the_bound"] and low < upper
      assert row["epsilon_lower_99"] <= point["epsilon"]
      assert row["epsilon_lower_99"] == converse.epsilon_lower(
        hits,
        TRIALS,
        1 / m,
        DELTA,
        0.995,  # two numbers of candidates
      )
      proved = row["epsilon_lower_dpsgd_99"]
      assert row["epsilon_lower_99"] <= proved <= point["epsilon"]
      low, high = row["bayes_optimal_estimate_ci99"]
      assert 1 / m < low < row["bayes_optimal_estimate"] < high <= upper + 0.02


def test_every_trial_has_its_own_target_among_its_candidates(finished):
  first, second = (_trials(finished, i) for i in range(2))
  both = np.concatenate([first.truth, second.truth])
  assert both.min() >= 0 and both.max() < 8
  # Each slot within four deviations of its share.
  counts, share = np.bincount(both, minlength=8), 2 * TRIALS / 8
  assert np.all(np.abs(counts - share) < 4 * np.sqrt(share))
  assert np.any(first.truth != second.truth)
  assert len(np.unique(first.log_posterior[:, 0])) == TRIALS
  assert len(np.unique(second.accuracy)) > 1


def test_a_tie_is_a_failure_and_blocks_are_priors():
  trials = stage.Trial(
    truth=np.array([0, 3, 2]),
    log_posterior=np.array([
      [5.0, 1.0, 9.0, 0.0],  # found among 2, not among 4
      [5.0, 1.0, 2.0, 5.0],  # found among 2, a tie among 4
      [0.0, 0.0, 1.0, 1.0],  # a tie among 2
    ]),
    gram=np.tile(np.eye(4), (3, 1, 1)),
    accuracy=np.zeros(3),
  )  # fmt: skip
  found = {
    m: stage._identification(m, trials, (1.0, 1.0, 1), DELTA, 2) for m in (2, 4)
  }
  assert found[2]["successes"] == 2 and found[4]["successes"] == 0
  sampled = stage._identification(2, trials, (1.0, 0.5, 1), DELTA, 2)
  assert "bayes_optimal_estimate" not in sampled


def test_the_same_trials_after_a_kill_and_under_other_chunks(
  finished, tmp_path
):
  workdir = shutil.copytree(finished, tmp_path / "run")
  lost = workdir / "prior_aware/point-1/part-000020.npz"
  kept = workdir / "prior_aware/point-0/part-000000.npz"
  before, time = lost.read_bytes(), kept.stat().st_mtime_ns
  lost.unlink()
  shutil.rmtree(workdir / "evaluation")
  stages.run(_config(**{"perf.chunk_trials": 7}), workdir)
  assert lost.read_bytes() == before
  assert kept.stat().st_mtime_ns == time
  assert (
    len(list((workdir / "prior_aware/point-0").iterdir())) == TRIALS / CHUNK
  )
  assert _results(workdir) == _results(finished)


def test_success_above_the_bound_is_said_out_loud(finished):
  """All right at noise that allows for little more than a guess."""
  trials = stage.Trial(
    truth=np.zeros(40, int),
    log_posterior=np.tile([1.0, 0.0], (40, 1)),
    gram=np.tile(np.eye(2), (40, 1, 1)),
    accuracy=np.zeros(40),
  )
  row = stage._identification(2, trials, (10.0, 1.0, 1), DELTA, 2)
  assert row["refutes_the_bound"] and row["success_upper"] < 0.55
  results = files.read_json(finished / "results.json")
  assert "In none of 4 settings" in report.text(results)
  assert "In none of 4 settings" in (finished / "report.html").read_text()
  results["privacy"]["prior_aware"][0]["identification"]["2"] = row
  page = report.page(stages.build(_config(), finished), results)
  for said in (report.text(results), page.story[1]):
    assert "In 1 of 4 settings" in said and "noise or clipping are not" in said


def test_the_page_where_records_are_sampled(finished, monkeypatch):
  """No best possible is estimated there; the bound's curve is another one."""
  few = functools.partial(report._curve, count=3)
  monkeypatch.setattr(report, "_curve", few)
  results = _results(finished)
  privacy = results["privacy"]
  privacy["sampling_probability"] = 0.5
  for point in privacy["prior_aware"]:
    for row in point["identification"].values():
      del row["bayes_optimal_estimate"], row["bayes_optimal_estimate_ci99"]
  page = report.page(stages.build(_config(), finished), results)
  assert page.pictures.keys() == {"identification", "audit", "accuracy"}
  assert all(row[6] == "-" for row in page.rows)
  assert "best possible" not in page.story[1]
  assert "with probability 0.5" in page.story[0]


def test_it_leaves_what_every_experiment_leaves(finished):
  results = files.read_json(finished / "results.json")
  assert results["attacks"] == results["baselines"] == {}
  assert results["released_model"]["models"] == 2 * TRIALS
  assert results["timing_seconds"].keys() == {"prior_aware", "report"}
  pictures = sorted(p.name for p in (finished / "figures").iterdir())
  assert pictures == ["accuracy.png", "audit.png", "identification.png"]
  for line in (finished / "metrics.jsonl").read_text().splitlines():
    assert json.loads(line)["stage"] == "prior_aware"


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"training.privacy.mechanism": "none"}, "mechanism must be 'dp_sgd'"),
    ({"prior_aware.candidates": (3, 8)}, "that divide the largest"),
    ({"prior_aware.candidates": (1, 8)}, "numbers from 2"),
    ({"split.targets": 7}, "split.targets must be at least 8"),
    ({"split.accuracy": 0}, "split.accuracy must be at least 1"),
    ({"prior_aware.trials": 0}, "prior_aware.trials must be at least 1"),
    ({"prior_aware.among": 0}, "prior_aware.among must be at least 1"),
    ({"prior_aware.bound": (0.1,)}, "a blind guess already succeeds"),
    ({"prior_aware.bound": (1.0,)}, r"max_success must lie in \(0, 1\)"),
    ({"training.privacy.sampling_probability": 0.0}, "sampling_probability"),
    ({"training.privacy.delta": 0.0}, "delta must lie in"),
    ({"training.privacy.clip_norm": 0.0}, "clip_norm must lie in"),
    ({"training.batch_size": 5}, "batch_size must be 0"),
    ({"perf.chunk_trials": 0}, "perf.chunk_trials must be at least 1"),
    ({"stages": ("report",)}, "stages must include 'evaluate' or another"),
  ],
)
def test_a_bad_config_is_refused_before_anything_is_written(
  tmp_path, changes, message
):
  with pytest.raises(UserError, match=message):
    stages.run(_config(**changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_diverged_models_are_named(tmp_path):
  with pytest.raises(UserError, match="diverged.*lower training.learning_rate"):
    stages.run(_config(**{"training.learning_rate": 1e38}), tmp_path / "run")
  assert not list((tmp_path / "run").rglob("part-*"))
