"""A thousand workers on one store: nothing lost or doubled, at what overhead?

python -m bench.claims --quick

Each worker is a thread that runs the claim protocol of the real thing on a real
folder; its work is to sleep, after which it makes the chunk's two files. A
twentieth of the workers die over their first chunk, which must be taken over.
Times are a tenth of the real ones: a heartbeat a second, a claim stale after
12 s.
"""

import collections
import json
import os
import pathlib
import random
import sys
import tempfile
import threading
import time
from unittest import mock

from absl import app, flags

from informed_recon import claims

_QUICK = flags.DEFINE_bool("quick", False, "200 workers, 1,000 chunks")
SECONDS = 8.0  # of work a chunk
DEAD = 0.05  # share of the workers that die over their first chunk


def main(argv):
  del argv
  sizes = ((200, 1000),) if _QUICK.value else ((100, 1000), (1000, 5000))
  for workers, chunks in sizes:
    print(json.dumps(simulate(workers, chunks)), flush=True)


def simulate(workers: int, chunks: int) -> dict:
  """Runs the workers until all chunks are done."""
  calls, trained = collections.Counter(), collections.Counter()
  rng, dead = random.Random(0), int(DEAD * workers)

  def audit(event, arguments):
    """Counts what the file system is asked; `exists` is counted in done."""
    if event in ("open", "os.remove", "os.utime", "tempfile.mkstemp"):
      if folder in str(arguments[0]):
        calls[event] += 1

  with tempfile.TemporaryDirectory() as folder:
    pieces = [pathlib.Path(folder) / f"{i:05d}" for i in range(chunks)]
    digests = [piece.with_suffix(".sha256") for piece in pieces]
    for i in rng.sample(range(chunks), dead):
      gone = dict(where="another machine", pid=1, started=1)
      pieces[i].with_name(f".{i:05d}.claim0").write_text(json.dumps(gone))

    def done(i):
      calls["exists"] += 1
      return digests[i].exists()

    def undone():
      calls["listdir"] += 1
      names = set(os.listdir(folder))
      return [i for i, d in enumerate(digests) if d.name not in names]

    def work():
      for i in claims.each(pieces, done, undone):
        time.sleep(SECONDS * random.uniform(0.8, 1.2))
        pieces[i].touch()
        digests[i].touch()
        trained[i] += 1

    with (
      mock.patch.object(claims, "HEARTBEAT", 1.0),
      mock.patch.object(claims, "STALE", 12.0),
      mock.patch.object(claims, "PAUSE", (0.05, 3.0)),
    ):
      sys.addaudithook(audit)
      threads = [threading.Thread(target=work) for _ in range(workers - dead)]
      start = time.perf_counter()
      for thread in threads:
        thread.start()
      for thread in threads:
        thread.join()
      took = time.perf_counter() - start
    finished = sum(digest.exists() for digest in digests)
    left = [name for name in os.listdir(folder) if ".claim" in name]
  ideal = SECONDS * chunks / (workers - dead)
  return dict(
    case=f"{workers} workers, {dead} of them dead, {chunks} chunks",
    ours=round(took, 1),
    peer=round(ideal, 1),
    ratio=round(took / ideal, 3),
    unit="s against perfect division",
    lost=chunks - finished,
    doubled=sum(n > 1 for n in trained.values()),
    claims_left=len(left),
    operations_a_chunk=round(sum(calls.values()) / chunks, 1),
    operations=dict(calls),
  )


if __name__ == "__main__":
  app.run(main)
