"""A thousand workers on one store: nothing lost or doubled, at what overhead?

python -m bench.claims --quick

Each worker is a thread, 50 to a process, that runs the claim protocol of the
real thing on a real folder; its work is to sleep, after which it makes the
chunk's two files. A twentieth of the workers die over their first chunk, which
must be taken over. Times are half of the real ones: a heartbeat every 5 s, a
claim stale after 60 s.
"""

import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

from absl import app, flags

from informed_recon.storage import claims

_QUICK = flags.DEFINE_bool("quick", False, "100 workers, 500 chunks")
_FOLDER = flags.DEFINE_string("folder", None, "of a process of workers")
_CHUNKS = flags.DEFINE_integer("chunks", 0, "of that store")
_THREADS = flags.DEFINE_integer("threads", 50, "workers a process")
SECONDS = 30.0  # of work a chunk
DEAD = 0.05  # share of the workers that die over their first chunk


def main(argv):
  del argv
  if _FOLDER.value:
    print(json.dumps(workers(_FOLDER.value, _CHUNKS.value, _THREADS.value)))
    return
  for size in ((100, 500),) if _QUICK.value else ((100, 500), (1000, 5000)):
    print(json.dumps(simulate(*size)), flush=True)


def simulate(count: int, chunks: int) -> dict:
  """Runs `count` workers until all chunks are done."""
  dead, calls = int(DEAD * count), collections.Counter()
  with tempfile.TemporaryDirectory() as folder:
    for i in random.Random(0).sample(range(chunks), dead):
      gone = dict(where="another machine", pid=1, started=1)
      path = pathlib.Path(folder) / f".{i:05d}.claim0"
      path.write_text(json.dumps(gone))
    command = [sys.executable, "-m", "bench.claims", f"--folder={folder}"]
    command += [f"--chunks={chunks}"]
    threads = [_THREADS.value] * (count // _THREADS.value)
    threads[0] -= dead
    start = time.perf_counter()
    processes = [
      subprocess.Popen([*command, f"--threads={n}"], stdout=subprocess.PIPE)
      for n in threads
    ]
    for process in processes:
      calls.update(json.loads(process.communicate()[0]))
    took = time.perf_counter() - start
    names = os.listdir(folder)
    trained = collections.Counter(
      (pathlib.Path(folder) / "trained").read_text().split()
    )
  ideal = SECONDS * chunks / (count - dead)
  return dict(
    case=f"{count} workers, {dead} of them dead, {chunks} chunks",
    ours=round(took, 1),
    peer=round(ideal, 1),
    ratio=round(took / ideal, 3),
    unit="s against perfect division",
    lost=chunks - sum(name.endswith(".sha256") for name in names),
    doubled=sum(n > 1 for n in trained.values()),
    claims_left=sum(".claim" in name for name in names),
    operations_a_chunk=round(sum(calls.values()) / chunks, 1),
    operations=dict(calls),
  )


def workers(folder: str, chunks: int, threads: int) -> dict[str, int]:
  """One process of workers; counts what it asks of the file system."""
  claims.HEARTBEAT, claims.STALE = 5.0, 60.0
  calls, log = collections.Counter(), pathlib.Path(folder) / "trained"
  pieces = [pathlib.Path(folder) / f"{i:05d}" for i in range(chunks)]
  digests = [piece.with_suffix(".sha256") for piece in pieces]

  def audit(event, arguments):
    if event in ("open", "os.remove", "os.utime"):
      calls[event] += folder in str(arguments[0])

  def done(i):
    calls["exists"] += 1
    return digests[i].exists()

  def undone():
    calls["listdir"] += 1
    names = set(os.listdir(folder))
    return [i for i, digest in enumerate(digests) if digest.name not in names]

  def work():
    for i in claims.each(pieces, done, undone):
      time.sleep(SECONDS * random.uniform(0.8, 1.2))
      pieces[i].touch()
      digests[i].touch()
      with open(log, "a") as file:
        file.write(f"{i}\n")

  sys.addaudithook(audit)
  running = [threading.Thread(target=work) for _ in range(threads)]
  for thread in running:
    thread.start()
  for thread in running:
    thread.join()
  return dict(calls)


if __name__ == "__main__":
  app.run(main)
