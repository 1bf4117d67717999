"""The measurements of an accelerator are made once each, and go on."""

import pathlib
import subprocess
import sys
import time

import pytest

from bench import accelerator
from informed_recon import configs
from informed_recon.storage import files

ROOT = pathlib.Path(__file__).parents[2]
SLEEP = ["timeit", "-n1", "-r1", "-s", "import time", "time.sleep(60)"]


def test_a_piece_is_done_once_and_one_cut_short_goes_on(tmp_path, monkeypatch):
  monkeypatch.setattr(accelerator, "GRACE", 0.5)

  def work(name, command, seconds=30.0):
    end = time.monotonic() + seconds
    accelerator.work(tmp_path, name, command, end)
    path = tmp_path / f"{name}.json"
    return files.read_json(path) if path.exists() else None

  assert work("late", SLEEP, 0.1) is None
  cut = work("long", SLEEP, 2.0)
  assert cut["state"] == "cut short" and 1 < cut["seconds"] < 10
  again = work("long", SLEEP, 2.0)
  assert again["seconds"] > cut["seconds"] + 1  # of all its starts
  assert work("wrong", ["no.such.module"])["state"] == "failed"
  once = work("right", ["timeit", "-n1", "-r1", "pass"])
  assert once["state"] == "done"
  assert work("right", ["no.such.module"]) == once
  names = dict(right=[[]], wrong=[[]], long=[[]], other=[[]])
  table = accelerator.table(tmp_path, names)
  assert "No module named" in table and "not begun" in table


@pytest.mark.parametrize("quick", [False, True])
def test_every_piece_names_what_there_is(tmp_path, quick):
  folder = pathlib.Path(configs.__path__[0])
  for commands in accelerator.pieces(tmp_path, quick).values():
    for module, *arguments in commands:
      assert (ROOT / f"{module.replace('.', '/')}.py").exists()
      for argument in arguments:
        if argument.startswith("--config="):
          name = argument.removeprefix("--config=").split(":")[0]
          assert (folder / f"{name}.py").exists()


@pytest.mark.slow
def test_the_quick_form_runs_on_any_machine(tmp_path):
  command = [sys.executable, "-m", "bench.accelerator", "--quick"]
  command += [f"--workdir={tmp_path}", "--minutes=60"]
  done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0, done.stderr
  assert "failed" not in done.stdout and "cut short" not in done.stdout
  assert "trained the same bytes: True" in done.stdout
