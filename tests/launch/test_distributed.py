"""Two processes of four devices each, as one distributed run."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import launch
from informed_recon import files
from tests.conftest import TINY

ROOT = pathlib.Path(launch.__file__).parent.parent
CONFIG = f"--config={ROOT}/configs/demo.py:quick"
OVERRIDES = [f"--config.{key}={value}" for key, value in TINY.items()]


def _free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


def test_two_processes_of_four_devices_train_the_bits_of_one(
  finished, tmp_path
):
  workdir, stores = tmp_path / "run", tmp_path / "stores"
  for name in ("shadow", "released"):  # the size of a block decides the bits
    (stores / name).mkdir(parents=True)
    shutil.copy(finished / name / "block.json", stores / name)
  port = _free_port()
  flags = "--xla_force_host_platform_device_count=4"
  processes = [
    subprocess.Popen(
      [sys.executable, "-m", "launch.run", CONFIG, f"--workdir={workdir}"]
      + [*OVERRIDES, f"--config.perf.stores={stores}"]
      + [f"--coordinator=127.0.0.1:{port}"]
      + ["--num_processes=2", f"--process_id={i}"],
      **dict(cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE),
      env=os.environ | {"XLA_FLAGS": flags},
    )
    for i in range(2)
  ]
  outputs = [p.communicate(timeout=300) for p in processes]
  for process, (_, err) in zip(processes, outputs):
    assert process.returncode == 0, err.decode()[-3000:]
  assert b"report: " in outputs[0][0] and outputs[1][0] == b""

  lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
  rows = [r for r in lines if r.get("store") == "shadow"]
  assert sorted(r["chunk"] for r in rows) == list(range(20))  # each once
  by = [{r["chunk"] for r in rows if r["process"] == i} for i in range(2)]
  assert by[0] and by[1] and not by[0] & by[1]
  assert 0 in by[0] and 10 in by[1]  # each began with its own range
  for name in ("shadow", "released"):
    for path in (finished / name).glob("chunk-*"):
      assert (stores / name / path.name).read_bytes() == path.read_bytes()
  ours, one = (files.read_json(w / "results.json") for w in (workdir, finished))
  assert ours["environment"]["devices"].startswith("8 x")
  assert ours["baselines"] == one["baselines"]
