"""The local executor: no more at a time than allowed, and none forgotten."""

import sys

import pytest

from informed_recon import registry
from informed_recon.sweeps import executors, state
from informed_recon.sweeps.plan import Point
from informed_recon.types import UserError

# Counts how many are running while it runs.
CODE = """
import os, time
here = {running!r} + "/" + {name!r}
open(here, "w").close()
time.sleep(0.2)
print("at once:", len(os.listdir({running!r})), flush=True)
os.remove(here)
if {name!r} == "bad":
  raise RuntimeError("no")
os.makedirs({workdir!r})
open({workdir!r} + "/results.json", "w").write('{{"timing_seconds": {{}}}}')
"""


def test_every_point_runs_and_no_more_than_allowed_at_once(tmp_path, capsys):
  running = tmp_path / "running"
  running.mkdir()
  points = []
  for name in ("a", "b", "bad", "c", "d"):
    point = Point(name, tmp_path, {}, ())
    code = CODE.format(
      name=name, running=str(running), workdir=str(point.workdir)
    )
    points.append(
      point._replace(command=(sys.executable, "-S", "-E", "-c", code))
    )
  local = registry.find("sweeps.executors", "local")
  local.run(points, jobs=2, retries=1, options={})
  states = {p.name: state.state(p).what for p in points}
  assert states.pop("bad") == "failed"
  assert set(states.values()) == {"done"}
  logs = [p.log.read_text().splitlines() for p in points]
  at_once = [int(x.split()[-1]) for log in logs for x in log if "at once" in x]
  assert len(at_once) == 6  # five, and one again
  assert max(at_once) == 2
  assert "bad: failed" in capsys.readouterr().out
  assert "local" in registry.names("sweeps.executors") and executors.__doc__


def test_slurm_where_there_is_none_is_one_line(monkeypatch, tmp_path):
  point = Point("one", tmp_path, {}, ("true",))
  slurm = registry.find("sweeps.executors", "slurm")
  monkeypatch.setenv("PATH", "/nowhere")
  with pytest.raises(UserError, match="this machine has no Slurm") as error:
    slurm.run([point], jobs=1, retries=0, options={})
  assert "\n" not in str(error.value)
