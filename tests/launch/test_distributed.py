"""Two processes of four devices each, as one distributed run."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import pytest

import launch
from informed_recon import stages
from informed_recon.storage import files
from tests.conftest import TINY

ROOT = pathlib.Path(launch.__file__).parent.parent
CONFIG = f"--config={ROOT}/configs/default.py:quick"
# Long enough for one process not to be done before the other is there.
CHANGES = {"training.steps": 3000}


def _free_port():
  with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    return probe.getsockname()[1]


@pytest.mark.slow  # tests/training/test_mesh.py has eight devices of one
def test_two_processes_of_four_devices_train_the_bits_of_one(
  tiny_config, tmp_path
):
  one, workdir, stores = (tmp_path / n for n in ("one", "run", "stores"))
  stages.work(tiny_config(**CHANGES), one)
  for name in ("shadow", "released"):  # the size of a block decides the bits
    (stores / name).mkdir(parents=True)
    shutil.copy(one / name / "block.json", stores / name)
  overrides = TINY | CHANGES | {"perf.stores": stores}
  port = _free_port()
  flags = os.environ.get("XLA_FLAGS", "")
  flags += " --xla_force_host_platform_device_count=4"
  processes = [
    subprocess.Popen(
      [sys.executable, "-m", "launch.run", CONFIG, f"--workdir={workdir}"]
      + [f"--config.{key}={value}" for key, value in overrides.items()]
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
  by = [[r["chunk"] for r in rows if r["process"] == i] for i in range(2)]
  # Each began with its own range, as far as the other had left it; on a busy
  # machine one may find nothing left.
  assert all(chunks[0] // 10 == i for i, chunks in enumerate(by) if chunks)
  for name in ("shadow", "released"):
    chunks = list((one / name).glob("chunk-*"))
    assert len(chunks) == dict(shadow=40, released=6)[name]
    for path in chunks:
      assert (stores / name / path.name).read_bytes() == path.read_bytes()
  results = files.read_json(workdir / "results.json")
  assert results["environment"]["devices"].startswith("8 x")
  assert results["attacks"]["bilinear"]["targets"] == 12
