"""Kills, damage and a full disk over workers of one store; the same bytes.

python -m bench.soak --kills=30

Workers of one experiment (`launch.run --worker`) come and go on one shared
store while this script kills them at random moments (SIGKILL), flips bits in
finished chunks, truncates them, fills the disk, leaves claims of dead workers
behind (of this machine and of others, touched long ago and in the future), and
starts the run twice at once. Then an undisturbed run must find chunk files that
are byte-identical to its own, and nothing left over.
"""

import collections
import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from informed_recon.storage import claims, repair

_KILLS = flags.DEFINE_integer("kills", 30, "SIGKILLs")
_WORKERS = flags.DEFINE_integer("workers", 3, "at a time")
_SEED = flags.DEFINE_integer("seed", 0, "of the disturbances")
_MIB = flags.DEFINE_integer(
  "mib", 24, "size of the disk that gets full; 0: none"
)
CONFIG = "--config=configs/demo.py:quick"
SETTINGS = {
  "split.accuracy": 50,
  "split.targets": 40,
  "split.shadow": 1200,
  "training.steps": 400,
  "perf.chunk_models": 20,
}


def main(argv):
  del argv
  with tempfile.TemporaryDirectory() as folder:
    where = pathlib.Path(folder)
    start = time.monotonic()
    assert _start(where, "calm").wait() == 0
    calm = time.monotonic() - start
    if _MIB.value:
      (where / "wild").mkdir()
      mount = ["mount", "-t", "tmpfs", "-o", f"size={_MIB.value}m", "tmpfs"]
      subprocess.run([*mount, str(where / "wild")], check=True)
    try:
      counts = disturb(where)
      start = time.monotonic()
      twice = [_start(where, "wild", worker=False) for _ in range(2)]
      for process in twice:
        assert process.wait() == 0, (where / "wild.log").read_text()[-2000:]
      ended = time.monotonic() - start
      # Claims that nobody wrote to the end look like another machine's until
      # they are old; then a run clears them away.
      time.sleep(claims.STALE)
      assert _start(where, "wild", worker=False).wait() == 0
      differ = compare(where / "calm", where / "wild")
      found = [repair.verify(s) for s in repair.stores(where / "wild")]
      left = [p.name for f in found for p in f.left]
      trained = collections.Counter(_chunks(where / "wild"))
    finally:
      if _MIB.value:
        subprocess.run(["umount", "-l", str(where / "wild")], check=True)
  print(
    json.dumps(
      dict(
        case="disturbed store against an undisturbed one",
        chunks=len(trained),
        chunk_trainings=sum(trained.values()),
        files_that_differ=differ,
        left_over=left,
        calm_seconds=round(calm, 1),
        last_run_seconds=round(ended, 1),
        **counts,
      )
    )
  )
  sys.exit(bool(differ or left))


def _start(
  where: pathlib.Path, name: str, worker: bool = True
) -> subprocess.Popen:
  """Works on the store of that name; what it prints is kept beside it."""
  log = open(where / f"{name}.log", "a")
  return subprocess.Popen(
    [sys.executable, "-m", "launch.run", CONFIG]
    + (["--worker"] if worker else [])
    + [f"--workdir={where / name / 'run'}"]
    + [f"--config.{key}={value}" for key, value in SETTINGS.items()],
    **dict(stdout=log, stderr=log),
    env=os.environ
    | {
      "JAX_COMPILATION_CACHE_DIR": str(where / "cache"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    },
  )


def disturb(where: pathlib.Path) -> dict[str, int]:
  """Kills and damages until enough was killed; what was done how often."""
  rng, counts = random.Random(_SEED.value), collections.Counter()
  store = where / "wild/run/shadow"
  workers = []
  while counts["sigkills"] < _KILLS.value:
    for worker in [w for w in workers if w.poll() is not None]:
      workers.remove(worker)
      counts["full_disk_exits" if worker.returncode == 2 else "finished"] += 1
    while len(workers) < _WORKERS.value:
      workers.append(_start(where, "wild"))
    time.sleep(rng.uniform(2, 10))
    done = sorted(store.glob("chunk-*.npy"))
    if done:
      damage = rng.choice([_flip, _truncate, _stale_claim, _fill_disk, _lose])
      try:
        counts[damage(rng, rng.choice(done))] += 1
      except (OSError, ValueError):
        pass  # gone meanwhile, or the disk is full
    victim = rng.choice(workers)
    if victim.poll() is None:
      victim.send_signal(signal.SIGKILL)
      victim.wait()
      workers.remove(victim)
      counts["sigkills"] += 1
  for worker in workers:
    worker.kill()
    worker.wait()
  (where / "wild/full").unlink(missing_ok=True)
  return dict(counts)


def _flip(rng: random.Random, chunk: pathlib.Path) -> str:
  with open(chunk, "r+b") as file:
    at = rng.randrange(chunk.stat().st_size)
    file.seek(at)
    byte = file.read(1)[0]
    file.seek(at)
    file.write(bytes([byte ^ 1 << rng.randrange(8)]))
  return "bits_flipped"


def _truncate(rng: random.Random, chunk: pathlib.Path) -> str:
  os.truncate(chunk, rng.randrange(chunk.stat().st_size))
  return "truncated"


def _lose(rng: random.Random, chunk: pathlib.Path) -> str:
  rng.choice([chunk, chunk.with_suffix(".sha256")]).unlink()
  return "files_lost"


def _stale_claim(rng: random.Random, chunk: pathlib.Path) -> str:
  """Of a worker elsewhere; its clock, or ours, may have been wrong."""
  number = rng.randrange(60)
  claim = chunk.with_name(f".chunk-{number:05d}.npy.claim0")
  text = json.dumps(dict(where="another", pid=1, started=1))
  try:
    claim.write_text(text)
  except OSError:  # the disk is full: without content, and just touched
    return "claims_without_content"
  wrong = rng.choice([-10, -1e6, 1e6]) * claims.STALE
  touched = claim.stat().st_mtime + wrong
  os.utime(claim, (touched, touched))
  return "stale_claims"


def _fill_disk(rng: random.Random, chunk: pathlib.Path) -> str:
  """Until the next time it is called."""
  full = chunk.parents[2] / "full"
  if full.exists() or not _MIB.value:
    full.unlink(missing_ok=True)
    return "disk_freed"
  with open(full, "wb", buffering=0) as file:
    while True:
      try:
        file.write(bytes(1 << 12))
      except OSError:
        return "disk_filled"


def compare(calm: pathlib.Path, wild: pathlib.Path) -> list[str]:
  """Names of the files of the stores that are not the same."""

  def digests(root: pathlib.Path) -> dict[str, str]:
    return {
      str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
      for name in ("shadow", "released")
      for path in (root / "run" / name).iterdir()
    }

  ours, theirs = digests(calm), digests(wild)
  return sorted(k for k in ours | theirs if ours.get(k) != theirs.get(k))


def _chunks(wild: pathlib.Path):
  """Every training of a chunk that was logged."""
  for line in (wild / "run/metrics.jsonl").read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue  # torn by a kill, or by the full disk
    if row["stage"] == "shadow":
      yield row["store"], row["chunk"]


if __name__ == "__main__":
  app.run(main)
