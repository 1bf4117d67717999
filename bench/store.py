"""Store throughput against plain disk writes, and memory against N.

python -m bench.store --quick

Writes, verifies and reads chunk files of 500 models of 7,960 parameters (the
public notebook's network), beside one sequential file of the same bytes that is
synced as often. Then the peak memory of the shadow stage on a tiny model, each
N in a process of its own: it may grow with the chunk, not with N.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import numpy as np
from absl import app, flags

from bench import interleaved
from informed_recon.storage import store

_QUICK = flags.DEFINE_bool("quick", False, "fewer chunks and models")
PARAMS, CHUNK = 7960, 500

STAGE = """
import resource, sys
import numpy as np
from informed_recon.configs import default
from informed_recon import data, stages
from informed_recon import experiment as experiments
from informed_recon.types import Records

N = int(sys.argv[1])
rng = np.random.default_rng(0)
count = N + 200
x = rng.random((count, 4, 4, 1), np.float32)
y = rng.integers(4, size=count, dtype=np.int32)
config = default.get_config()
config.split.update(accuracy=50, targets=50, fixed=50, shadow=N)
config.training.steps = 2
config.reconstructors.bilinear.batch_size = 16
config.model.options.width = 64
load = lambda spec: data.Dataset("noise", Records(x, y), 4)
experiment = stages.build(config.lock(), sys.argv[2], load=load)
experiments.enter(experiment)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
stages._work(experiment)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(N, experiment.model().num_params, before // 1024, after // 1024)
"""


def main(argv):
  del argv
  for row in throughput(8 if _QUICK.value else 60, 3 if _QUICK.value else 5):
    print(json.dumps(row), flush=True)
  for row in memory((2000, 8000) if _QUICK.value else (4000, 16_000, 59_000)):
    print(json.dumps(row), flush=True)


def throughput(chunks: int, rounds: int):
  """Rows for `chunks` chunk files."""
  rows = np.random.default_rng(0).normal(size=(CHUNK, PARAMS))
  rows = rows.astype(np.float32)
  mebibytes = chunks * rows.nbytes / 2**20
  spec = store.Store(chunks * CHUNK, PARAMS, CHUNK, dict(models="shadow"))
  with tempfile.TemporaryDirectory(dir=".") as folder:
    ours, plain = pathlib.Path(folder) / "store", pathlib.Path(folder) / "plain"
    ids = np.random.default_rng(1).integers(chunks * CHUNK, size=512)

    def write():
      shutil.rmtree(ours, ignore_errors=True)
      store.create(ours, spec)
      for chunk in store.chunks(ours):
        store.write_chunk(chunk, rows)

    def write_plain():
      with open(plain, "wb") as file:
        for _ in range(chunks):
          file.write(rows.data)
          file.flush()
          os.fsync(file.fileno())

    def verify():
      assert not store.missing(ours)

    def read_plain():
      with open(plain, "rb") as file:
        while file.read(1 << 24):
          pass

    def gather():
      store.open_rows(ours).gather(ids)

    def gather_plain():
      np.memmap(plain, np.float32, "r", shape=(chunks * CHUNK, PARAMS))[ids]

    cases = dict(write=(write, write_plain), verify=(verify, read_plain))
    cases["gather"] = gather, gather_plain
    for name, (mine, peer) in cases.items():
      seconds = interleaved(dict(ours=mine, peer=peer), rounds)
      rates = {k: mebibytes / s for k, s in seconds.items()}
      unit = "MiB/s"
      if name == "gather":
        rates = {k: 512 / s for k, s in seconds.items()}
        unit = "random rows/s"
      yield dict(
        case=f"{name}, {chunks} chunks, {mebibytes:.0f} MiB",
        ours=round(rates["ours"]),
        peer=round(rates["peer"]),
        ratio=round(rates["ours"] / rates["peer"], 2),
        unit=unit,
      )


def memory(sizes: tuple[int, ...]):
  """Peak memory of the shadow stage for each number of models."""
  for size in sizes:
    with tempfile.TemporaryDirectory() as folder:
      done = subprocess.run(
        [sys.executable, "-c", STAGE, str(size), folder],
        **dict(capture_output=True, text=True, check=True),
      )
      n, params, before, after = map(int, done.stdout.split())
    yield dict(
      case=f"shadow stage, {n} models of {params} parameters",
      ours=after - before,
      peer=round(n * params * 4 / 2**20),
      ratio=round((after - before) / (n * params * 4 / 2**20), 2),
      unit="MiB of peak memory over the data's, against all rows",
    )


if __name__ == "__main__":
  app.run(main)
