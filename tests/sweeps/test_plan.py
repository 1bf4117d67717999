"""Sweeps: refused before anything starts, and told as it is."""

import csv
import json
import os
import pathlib
import shutil
import sys

import pytest

from informed_recon.configs import default
from informed_recon.experiment import identity
from informed_recon.storage import claims, files
from informed_recon.sweeps import collect, plan, state
from informed_recon.sweeps.plan import Point, Sweep
from informed_recon.types import UserError

HEAD = """
from informed_recon.configs import default
def get_config(arg=""):
  return default.get_config("quick")
"""
SIZES = "[{'split.shadow': n, 'seed': s} for s in (0, 1) for n in (90, 100)]"


def _plan(directory, points, given=None, more=""):
  """The plan of a config file whose sweep() returns the expression `points`."""
  path = directory / "swept.py"
  path.write_text(f"{HEAD}\n{more}\ndef sweep(arg):\n  return {points}\n")
  config = default.get_config("quick")
  config.update_from_flattened_dict(given or {})
  where = f"{path}:small"
  return plan.plan(config.lock(), where, given or {}, directory / "out")


def test_a_plan_names_its_points_and_how_to_run_them(tmp_path):
  given = {"evaluation.eta": 0.02}
  points = _plan(tmp_path, SIZES, given).points
  assert [p.name for p in points] == [
    f"split.shadow={n},seed={s}" for s in (0, 1) for n in (90, 100)
  ]
  assert not (tmp_path / "out").exists()
  for point in points:
    assert point.workdir == tmp_path / "out/points" / point.name
    arguments = point.command[4:]
    assert f"--config={tmp_path}/swept.py:small" in arguments
    assert f"--workdir={point.workdir}" in arguments
    assert f"--config.seed={point.overrides['seed']}" in arguments
    assert "--config.evaluation.eta=0.02" in arguments
    assert "--config.perf.store_models=100" in arguments  # the larger of two
  stores = [
    next(a for a in p.command if a.startswith("--config.perf.stores="))
    for p in points
  ]
  # One store a seed; the number of shadow models is no other store.
  assert stores[0] == stores[1] != stores[2] == stores[3]


def test_labels_name_a_point_and_are_no_setting(tmp_path):
  labelled = "[{'seed': 1, 'labels': {'who': 'a b', 'n': 2}}, {'seed': 2}]"
  one, other = _plan(tmp_path, labelled).points
  assert (one.name, one.labels) == ("who=a_b,n=2", {"who": "a b", "n": 2})
  assert one.overrides == {"seed": 1}
  assert not any("config.labels" in argument for argument in one.command)
  assert (other.name, other.labels) == ("seed=2", {})


@pytest.mark.parametrize(
  "points, message",
  [
    ("[{'split.shadoww': 3}]", "point 'split.shadoww=3' .*shadoww"),
    ("[{'seeed': 3}]", "point 'seeed=3' of the sweep: .*seeed"),
    ("[{'seed': 'x'}]", "point 'seed=x' of the sweep"),
    ("[{'seed': 1}, {'seed': 0}, {'seed': 1}]", "same experiment: 'seed=1'"),
    (
      "[{'seed': 1}, {'seed': 1, 'perf.block_mib': 3}]",
      "the same experiment: 'seed=1' and 'seed=1,perf.block_mib=3'",
    ),
    ("[]", "yields no point"),
    ("[{'split.shadow': 9999}]", "=9999' of the sweep: split asks for"),
    ("[{'model.name': 'cnn'}]", "=cnn' of the sweep: unknown model 'cnn'"),
  ],
)
def test_a_bad_sweep_is_refused_before_anything_starts(
  tmp_path, points, message
):
  with pytest.raises(UserError, match=message):
    _plan(tmp_path, points)
  assert not (tmp_path / "out").exists()


def test_get_hyper_gives_the_points_that_sweep_would(tmp_path):
  path = tmp_path / "hyper.py"
  path.write_text(
    f"{HEAD}\ndef get_hyper(hyper):\n"
    "  return hyper.product([hyper.sweep('config.seed', (1, 2))])\n"
  )
  config = default.get_config("quick").lock()
  points = plan.plan(config, str(path), {}, tmp_path / "out").points
  assert [p.overrides for p in points] == [{"seed": 1}, {"seed": 2}]
  assert not (tmp_path / "out").exists()


def test_an_override_of_what_is_swept_is_refused(tmp_path):
  with pytest.raises(UserError, match="config.seed is what the sweep varies"):
    _plan(tmp_path, SIZES, {"seed": 3})


def test_a_folder_of_another_sweep_is_refused(tmp_path):
  point = _plan(tmp_path, "[{'seed': 1}]").points[0]
  config = default.get_config("quick")
  config.seed = 1
  mine = dict(identity=dict(config=identity.config_hash(config)))
  files.write_json(point.workdir / "config.json", mine)
  assert _plan(tmp_path, "[{'seed': 1}]").points == (point,)
  with pytest.raises(UserError, match="seed=1 belongs to another experiment"):
    _plan(tmp_path, "[{'seed': 1}]", {"evaluation.eta": 0.03})


def test_an_unknown_curve_is_refused(tmp_path):
  with pytest.raises(UserError, match="unknown curve 'nonsense'; known: "):
    _plan(tmp_path, SIZES, more="CURVE = 'nonsense'")


def test_a_config_without_a_sweep(tmp_path):
  path = tmp_path / "plain.py"
  path.write_text(HEAD)
  with pytest.raises(UserError, match=r"plain.py has no sweep\(arg\)"):
    plan.plan(default.get_config("quick"), str(path), {}, tmp_path / "out")


@pytest.fixture
def make_point(tmp_path):
  """(name, Python code) -> a point whose process runs that code."""

  def make(name, code="", **overrides):
    # -S -E: starts in a moment.
    command = (sys.executable, "-S", "-E", "-c", code)
    return Point(name, tmp_path, overrides, command)

  return make


def _attempt(point, retries=2):
  state.attempt(point, retries, os.environ)
  now = state.state(point)
  log = point.log.read_text() if point.log.exists() else ""
  return now.what, now.remark, log.count("ready")


SUCCEED = """
import os
print("ready", flush=True)
os.makedirs({0!r})
open({0!r} + "/results.json", "w").write('{{"timing_seconds": {{"a": 2.0}}}}')
"""


def test_a_point_that_succeeds(make_point):
  point = make_point("good")
  code = SUCCEED.format(str(point.workdir))
  assert _attempt(make_point("good", code)) == ("done", "", 1)
  assert state.state(point).seconds == 2.0
  assert _attempt(make_point("good", code)) == ("done", "", 1)  # not again


def test_a_point_that_fails_is_tried_again_and_then_told(make_point):
  bad = make_point("bad", "print('ready', flush=True); 1 / 0")
  message = "ZeroDivisionError: division by zero (3 tries)"
  assert _attempt(bad) == ("failed", message, 3)
  code = SUCCEED.format(str(bad.workdir))
  mended = ("done", "after 4 starts", 4)
  assert _attempt(make_point("bad", code)) == mended
  assert not bad.failure.exists()


def test_bad_input_is_not_tried_again(make_point):
  code = "import sys; print('ready'); print('error: bad'); sys.exit(2)"
  assert _attempt(make_point("bad", code)) == ("failed", "error: bad", 1)


def test_a_killed_point_is_tried_again(make_point):
  code = "import os; print('ready', flush=True); os.kill(os.getpid(), 9)"
  answer = ("failed", "killed by signal 9 (3 tries)", 3)
  assert _attempt(make_point("killed", code)) == answer


def test_a_point_that_was_asked_to_stop_has_not_failed(make_point):
  point = make_point("stopped")
  code = f"import os; os.makedirs({str(point.workdir)!r}); "
  code += f"open({str(point.workdir)!r} + '/config.json', 'w').close(); "
  code += "print('ready', flush=True); os.kill(os.getpid(), 15)"
  what, remark, starts = _attempt(make_point("stopped", code))
  assert (what, starts) == ("interrupted", 1)
  assert "run the sweep again" in remark


def test_status_tells_each_state_and_the_time_left(make_point):
  points = [make_point(n) for n in ("a", "b", "c", "d", "e")]
  done, running, failed, interrupted, waiting = points
  for point in points[:4]:
    point.workdir.mkdir(parents=True)
    (point.workdir / "config.json").write_text("{}")
  files.write_json(done.results, dict(timing_seconds=dict(a=90.0, b=30.0)))
  files.write_json(failed.failure, dict(what="failed", why="boom"))
  row = dict(stage="reconstructor", epoch=3, loss=0.5)
  (running.workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
  with claims.hold(running.workdir / "run") as mine:
    assert mine
    lines = state.status(points, jobs=2).splitlines()
  states = dict(line.split()[:2] for line in lines[1:-1])
  assert list(states.values()) == [
    *("done", "running", "failed", "interrupted", "waiting")
  ]
  assert lines[2].endswith("reconstructor epoch 3")
  assert lines[3].endswith("boom")
  assert "1 interrupted" in lines[-1] and "(of 5)" in lines[-1]
  assert "about 2 min left" in lines[-1]  # two of 2 min each, two at a time


def test_results_are_collected_into_one_tidy_table(
  make_point, finished, tmp_path
):
  points = [
    make_point("a", **{"split.shadow": 80, "seed": 0}),
    make_point("b", **{"split.shadow": 40, "seed": 0}),
    make_point("c", **{"split.shadow": 20, "seed": 0}),
  ]
  for point in points[:2]:  # the third is not done
    point.workdir.mkdir(parents=True)
    shutil.copy(finished / "results.json", point.results)
  collect.collect(Sweep("A title", tuple(points), "scaling"), tmp_path)
  with open(tmp_path / "results.csv") as file:
    rows = list(csv.DictReader(file))
  results = files.read_json(finished / "results.json")
  assert {r["split.shadow"] for r in rows} == {"80", "40"}
  mine = {
    (r["group"], r["name"], r["metric"]): r
    for r in rows
    if r["split.shadow"] == "40"
  }
  assert 2 * len(mine) == len(rows)
  for group in ("attacks", "baselines"):
    for name, row in results[group].items():
      for metric in ("mse_mean", "success_rate"):
        if metric in row:
          cell = mine[group, name, metric]
          numbers = [cell[k] for k in ("value", "ci95_low", "ci95_high")]
          truth = [row[metric], *row[f"{metric}_ci95"]]
          assert [float(n) for n in numbers] == truth
  cell = mine["attacks", "bilinear", "tpr_at_fpr.0.01"]
  low, high = results["attacks"]["bilinear"]["tpr_at_fpr_ci95"]["0.01"]
  assert (float(cell["ci95_low"]), float(cell["ci95_high"])) == (low, high)
  eta = mine["attacks", "bilinear", "success_at_eta.rate"]
  assert eta["ci95_low"] != ""
  assert ("released_model", "", "test_accuracy_mean") in mine
  page = (tmp_path / "sweep.html").read_text()
  assert "A title" in page and "waiting" in page
  assert page.count("data:image/png;base64,") == 1
  assert pathlib.Path(tmp_path / "figure.png").stat().st_size > 5000


def test_points_that_a_table_has_are_left_out(tmp_path):
  labelled = (
    "[{'seed': s, 'labels': {'factor': 'a b', 'seed': s}} for s in (1, 2)]"
    " + [{'seed': 3}]"
  )
  sweep = _plan(tmp_path, labelled)
  with pytest.raises(UserError, match="--known: no table in"):
    plan.without_known(sweep, tmp_path)
  text = "factor,point,seed,mse\na b,,1,0.5\na c,,2,0.5\n"
  (tmp_path / "ab.csv").write_text(text)
  left = plan.without_known(sweep, tmp_path).points
  assert [p.name for p in left] == ["factor=a_b,seed=2", "seed=3"]
