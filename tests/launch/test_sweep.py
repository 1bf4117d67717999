"""The command line of sweeps, end to end."""

import csv
import json
import pathlib
import subprocess
import sys

import pytest

import launch
from informed_recon.storage import files
from tests.conftest import TINY

ROOT = pathlib.Path(launch.__file__).parent.parent
FILE = """
from informed_recon.configs import default
CURVE = "scaling"
def get_config(arg=""):
  return default.get_config("quick")
def sweep(arg):
  for n in (80, 40):
    yield {"split.shadow": n}
"""


def _launch(tmp_path, *arguments):
  config = tmp_path / "swept.py"
  config.write_text(FILE)
  tiny = {k: v for k, v in TINY.items() if k != "split.shadow"}
  pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  return subprocess.Popen(
    [sys.executable, "-m", "launch.sweep", f"--config={config}"]
    + [f"--workdir={tmp_path}/out", *arguments]
    + [f"--config.{key}={value}" for key, value in tiny.items()],
    **dict(cwd=ROOT, text=True, **pipes),
  )


def _sweep(tmp_path, *arguments):
  process = _launch(tmp_path, *arguments)
  out, error = process.communicate()
  code = process.returncode
  return subprocess.CompletedProcess(process.args, code, out, error)


def test_bad_input_is_one_line_and_exit_code_2(tmp_path):
  done = _sweep(tmp_path, "--config.split.shadow=3")
  assert done.returncode == 2 and done.stdout == ""
  assert done.stderr.startswith("error: --config.split.shadow is what")
  assert done.stderr.count("\n") == 1
  assert not (tmp_path / "out").exists()


def test_two_points_share_what_is_trained_and_are_collected(tmp_path, finished):
  """Both run at once on one store; the larger equals a run by itself."""
  first = _sweep(tmp_path, "--jobs=2")
  assert first.returncode == 0, first.stderr
  assert "2 done (of 2)" in first.stdout
  out = tmp_path / "out"
  stores = list(out.glob("stores/*/shadow"))
  assert len(stores) == 1 and not list(out.glob("points/*/shadow"))
  chunks = sorted(stores[0].glob("chunk-*"))
  assert len(chunks) == 40
  for chunk in chunks:
    assert chunk.read_bytes() == (finished / "shadow" / chunk.name).read_bytes()
  rows = [
    row["chunk"]
    for path in out.glob("points/*/metrics.jsonl")
    for row in map(json.loads, path.read_text().splitlines())
    if row.get("store") == "shadow"
  ]
  assert sorted(rows) == list(range(20))  # no chunk was trained twice
  with open(out / "results.csv") as file:
    sizes = {row["split.shadow"] for row in csv.DictReader(file)}
  assert sizes == {"80", "40"}
  ours = files.read_json(out / "points/split.shadow=80/results.json")
  alone = files.read_json(finished / "results.json")
  assert ours["attacks"] == alone["attacks"]
  assert ours["baselines"] == alone["baselines"]

  before = {p: p.stat().st_mtime_ns for p in out.rglob("points/*/*")}
  status = _sweep(tmp_path, "--status")
  assert status.returncode == 0 and "2 done (of 2)" in status.stdout
  again = _sweep(tmp_path)
  assert again.returncode == 0 and "page: " in again.stdout
  assert {p: p.stat().st_mtime_ns for p in out.rglob("points/*/*")} == before


@pytest.mark.slow
def test_the_same_sweep_launched_twice_at_once(tmp_path, finished):
  """No chunk is trained twice, and both end with the same results."""
  processes = [_launch(tmp_path, "--jobs=1") for _ in range(2)]
  for process in processes:
    out, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    assert "2 done (of 2)" in out
  out = tmp_path / "out"
  rows = [
    row["chunk"]
    for path in out.glob("points/*/metrics.jsonl")
    for row in map(json.loads, path.read_text().splitlines())
    if row.get("store") == "shadow"
  ]
  assert sorted(rows) == list(range(20))
  ours = files.read_json(out / "points/split.shadow=80/results.json")
  assert (
    ours["attacks"] == files.read_json(finished / "results.json")["attacks"]
  )
  for chunk in out.glob("stores/*/shadow/chunk-*"):
    assert chunk.read_bytes() == (finished / "shadow" / chunk.name).read_bytes()
