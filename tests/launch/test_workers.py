"""Workers on one store, killed and disturbed; the bytes of a calm run."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

import launch
from informed_recon.storage import claims, files
from tests.conftest import TINY

ROOT = pathlib.Path(launch.__file__).parent.parent
CONFIG = f"--config={ROOT}/configs/default.py:quick"
OVERRIDES = [f"--config.{key}={value}" for key, value in TINY.items()]


def _start(workdir, *arguments):
  return subprocess.Popen(
    [sys.executable, "-m", "launch.run", CONFIG, f"--workdir={workdir}"]
    + [*OVERRIDES, *arguments],
    **dict(cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE),
  )


@pytest.mark.slow  # test_run.py kills a single process in every stage
def test_workers_killed_and_disturbed_then_two_runs_at_once(finished, tmp_path):
  """A short form of bench/soak.py."""
  workdir = tmp_path / "run"
  shadow = workdir / "shadow"
  workers = [_start(workdir, "--worker") for _ in range(2)]
  # In the way of both: a worker of another machine that died long ago, and
  # one whose clock ran ahead.
  while not (shadow / "manifest.json").exists():
    assert workers[0].poll() is None, workers[0].communicate()[1].decode()
    time.sleep(0.001)
  for number, wrong in ((3, -1e4), (7, 1e8)):
    claim = shadow / f".chunk-{number:05d}.npy.claim0"
    claim.write_text(json.dumps(dict(where="elsewhere", pid=1, started=1)))
    touched = claim.stat().st_mtime + wrong
    os.utime(claim, (touched, touched))
  while len(list(shadow.glob("*.sha256"))) < 4:
    time.sleep(0.001)
  for worker in workers:
    worker.kill()
    worker.communicate()
  done = sorted(shadow.glob("chunk-*.npy"))
  with open(done[0], "r+b") as file:
    file.seek(200)
    byte = file.read(1)[0]
    file.seek(200)
    file.write(bytes([byte ^ 8]))
  os.truncate(done[1], 100)

  runs = [_start(workdir) for _ in range(2)]
  ends = [run.communicate(timeout=300) for run in runs]
  for run, (out, err) in zip(runs, ends):
    assert run.returncode == 0, err.decode()[-2000:]
    assert b"report: " in out
  assert sum(b"waiting for process" in err for _, err in ends) == 1
  for name in ("shadow", "released"):
    ours, theirs = (
      {p.name: p.read_bytes() for p in (w / name).iterdir()}
      for w in (workdir, finished)
    )
    assert ours == theirs  # nor is anything left over
  first, second = (
    files.read_json(w / "results.json") for w in (workdir, finished)
  )
  assert first["attacks"] == second["attacks"]
  assert first["baselines"] == second["baselines"]
  assert not claims.alive(workdir / "run")
