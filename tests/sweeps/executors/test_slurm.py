"""Eight jobs on a real Slurm: the summary tells what became of each."""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import threading
import time

import pytest

from informed_recon import registry
from informed_recon.sweeps import state
from informed_recon.sweeps.plan import Point

HERE = pathlib.Path(__file__).parent
NEEDS = ("slurmctld", "slurmd", "munged", "sbatch", "scontrol", "scancel")
WITHOUT = [
  n for n in NEEDS if not shutil.which(n, path=f"{os.defpath}:/usr/sbin")
]
pytest.importorskip("submitit")
pytestmark = pytest.mark.skipif(
  bool(WITHOUT) or os.getuid() != 0, reason=f"needs root and {WITHOUT}"
)

# A point that is done after `seconds`, or after a moment at its second start.
CODE = """
import os, sys, time
work, seconds = {work!r}, {seconds!r}
os.makedirs(work, exist_ok=True)
open(work + "/config.json", "a").write("x")
starts = os.path.getsize(work + "/config.json")
if {fails!r}:
  sys.exit("no such thing")
time.sleep(seconds if starts == 1 else 0)
open(work + "/results.json", "w").write('{{"timing_seconds": {{}}}}')
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
  directory = tmp_path_factory.mktemp("slurm")
  for folder in (directory, *directory.parents):
    if not folder.stat().st_mode & stat.S_IXOTH:
      folder.chmod(0o755)  # the authentication daemon is no root
  script = str(HERE / "cluster.sh")
  subprocess.run([script, "start", str(directory)], check=True)
  before = os.environ.get("SLURM_CONF")
  os.environ["SLURM_CONF"] = str(directory / "slurm.conf")
  yield
  subprocess.run([script, "stop", str(directory)], check=True)
  os.environ.pop("SLURM_CONF")
  if before:
    os.environ["SLURM_CONF"] = before


def _point(directory, name, seconds=0.0, fails=False):
  point = Point(name, directory, {}, ())
  code = CODE.format(work=str(point.workdir), seconds=seconds, fails=fails)
  return point._replace(command=(sys.executable, "-S", "-E", "-c", code))


def _array():
  """Ids of the jobs in the queue."""
  squeue = ["squeue", "--noheader", "--array", "--format=%i"]
  done = subprocess.run(squeue, capture_output=True, text=True, check=True)
  return done.stdout.split()


def _until(condition, seconds=60):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, "never came so far"
    time.sleep(0.1)


def test_the_summary_tells_the_truth_about_each_job(
  cluster, tmp_path, monkeypatch, capsys
):
  slurm = registry.find("sweeps.executors", "slurm")
  monkeypatch.setattr(slurm, "POLL", 0.2)
  points = [_point(tmp_path, f"good{i}") for i in range(5)]
  points.append(_point(tmp_path, "cancelled", seconds=300))
  points.append(_point(tmp_path, "preempted", seconds=300))
  points.append(_point(tmp_path, "failing", fails=True))
  options = dict(partition="low", time="10")
  launch = threading.Thread(
    target=slurm.run,
    args=(points,),
    kwargs=dict(jobs=4, retries=1, options=options),
  )
  launch.start()
  by_name = {p.name: p for p in points}
  for name in ("cancelled", "preempted"):
    _until((by_name[name].workdir / "config.json").exists)
  _until(lambda: by_name["failing"].failure.exists())
  _until(lambda: all(p.results.exists() for p in points[:5]))

  _until(lambda: len(_array()) == 2)
  first, second = sorted(_array(), key=lambda job: int(job.split("_")[1]))
  subprocess.run(["scancel", first], check=True)
  # All four processors for the other partition: the last job has to go.
  subprocess.run(
    ["srun", "--partition=high", "--ntasks=1", "--cpus-per-task=4", "true"],
    check=True,
  )
  # Slurm lets a job that was put back wait for two minutes. A few seconds do,
  # but in the second of its end the node still takes its start for the old one.
  subprocess.run(
    ["scontrol", "update", f"JobId={second}", "StartTime=now+2"], check=True
  )
  launch.join(timeout=90)
  assert not launch.is_alive()
  states = {p.name: state.state(p) for p in points}
  assert {states[f"good{i}"][:2] for i in range(5)} == {("done", "")}
  assert states["cancelled"].what == "cancelled"
  assert states["cancelled"].remark == f"Slurm job {first} ended as CANCELLED"
  assert states["preempted"][:2] == ("done", "after 2 starts")
  assert states["failing"][:2] == ("failed", "no such thing (2 tries)")
  table = state.status(points, jobs=4)
  assert table.endswith("6 done, 1 cancelled, 1 failed (of 8)")
  out = capsys.readouterr().out
  assert "submitted 8 jobs" in out and "cancelled: cancelled" in out

  # Launched again: the cancelled one goes on, the failing one fails again.
  slurm.run(points, jobs=4, retries=0, options=options)
  assert "submitted 2 jobs" in capsys.readouterr().out
  assert state.status(points, jobs=4).endswith("7 done, 1 failed (of 8)")
