"""Damages a file of a run and runs the same command again.

What may come of it: the undisturbed results, or one line with the file's name
(exit code 2); never a traceback, never other results. A file is emptied, cut,
flipped at one bit, overwritten with noise, or swapped with another one, after
any stage of the run.

python -m bench.damage --cases=500
"""

import argparse
import contextlib
import io
import json
import pathlib
import shutil
import tempfile
import traceback
from collections.abc import Mapping

import numpy as np
from ml_collections import ConfigDict

from informed_recon import stages
from informed_recon.configs import convex, default
from informed_recon.storage import files
from informed_recon.types import UserError

KINDS = ("empty", "cut", "flip", "noise", "swap")
# What a run leaves once it came so far: this much is removed from its end.
REMOVED = dict(
  finished=(),
  attacked=("evaluation", "results.json"),
  trained=("evaluation", "results.json", "attacks"),
)


def configs() -> dict[str, ConfigDict]:
  """The smallest runs that leave every kind of file."""
  network = default.get_config("quick")
  network.stages = ("shadow", "reconstructor", "simulation", "evaluate")
  network.split.update(accuracy=20, targets=6, fixed=20, shadow=30)
  network.training.steps = 3
  network.reconstructors.bilinear.update(epochs=2, batch_size=8)
  network.reconstructors.bilinear.options.width = 8
  network.simulations.found = dict(
    default.SIMULATION, targets=2, starts=("class_means",), steps=2
  )
  network.evaluation.classifier.epochs = 1
  network.perf.update(chunk_models=10)
  closed = convex.get_config("quick")
  closed.stages = ("convex", "evaluate")
  closed.split.update(accuracy=20, targets=4, fixed=40)
  closed.convex.update(l2=1.0, penalise_intercept=True, noise=1e-5)
  closed.evaluation.classifier.epochs = 1
  return dict(network=network.lock(), convex=closed.lock())


def results(workdir: pathlib.Path) -> dict:
  """Of a run, but for times and machine."""
  found = files.read_json(workdir / "results.json")
  return {
    k: v for k, v in found.items() if k not in ("timing_seconds", "environment")
  }


def listing(workdir: pathlib.Path) -> list[pathlib.Path]:
  return sorted(p for p in workdir.rglob("*") if p.is_file())


def harm(path: pathlib.Path, kind: str, other: pathlib.Path, seed: int) -> None:
  """Damages one file."""
  rng, raw = np.random.default_rng(seed), bytearray(path.read_bytes())
  at = int(rng.integers(max(len(raw), 1)))
  if kind == "empty":
    raw = bytearray()
  elif kind == "cut":
    raw = raw[:at]
  elif kind == "flip" and raw:
    raw[at] ^= 1 << int(rng.integers(8))
  elif kind == "noise":
    raw = bytearray(rng.bytes(len(raw) or 100))
  elif kind == "swap":
    mine, theirs = bytes(raw), other.read_bytes()
    other.write_bytes(mine)
    raw = bytearray(theirs)
  path.write_bytes(raw)


def outcome(
  config: ConfigDict, workdir: pathlib.Path, names: set, expected: Mapping
) -> str:
  """ "equal", "refused", or what is wrong."""
  try:
    with contextlib.redirect_stderr(io.StringIO()):
      stages.run(config, workdir)
  except UserError as error:
    text = str(error)
    return "refused" if any(n in text for n in names) else f"unnamed: {text}"
  except Exception:
    return "traceback: " + traceback.format_exc()[-600:]
  return "equal" if results(workdir) == expected else "other results"


def case(
  config: ConfigDict, finished: pathlib.Path, seed: int
) -> tuple[str, str]:
  """One damaged copy of a finished run: what was done to it, what came."""
  rng = np.random.default_rng(seed)
  after = sorted(REMOVED)[seed % len(REMOVED)]
  with tempfile.TemporaryDirectory() as folder:
    workdir = shutil.copytree(finished, pathlib.Path(folder) / "run")
    for name in REMOVED[after]:
      path = workdir / name
      shutil.rmtree(path) if path.is_dir() else path.unlink()
    paths = listing(workdir)
    path, other = (paths[i] for i in rng.integers(len(paths), size=2))
    kind = KINDS[int(rng.integers(len(KINDS)))]
    what = f"{after}: {kind} {path.relative_to(workdir)}"
    if kind == "swap":
      what += f" with {other.relative_to(workdir)}"
    harm(path, kind, other, seed)
    names = {path.name, other.name} if kind == "swap" else {path.name}
    return what, outcome(config, workdir, names, results(finished))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true", help="ten cases")
  parser.add_argument("--cases", type=int, default=500)
  args = parser.parse_args()
  count = 10 if args.quick else args.cases
  runs = configs()
  with tempfile.TemporaryDirectory() as folder:
    for name, config in runs.items():
      stages.run(config, pathlib.Path(folder) / name)
    tally: dict[str, int] = {}
    for seed in range(count):
      name = sorted(runs)[seed // 3 % len(runs)]
      what, came = case(runs[name], pathlib.Path(folder) / name, seed)
      kind = came if came in ("equal", "refused") else "wrong"
      tally[kind] = tally.get(kind, 0) + 1
      if kind == "wrong":
        print(json.dumps(dict(seed=seed, run=name, what=what, came=came)))
  row = dict(case="damaged runs", ours=tally, peer=None, ratio=None)
  print(json.dumps(row | dict(unit="runs", cases=count)))


if __name__ == "__main__":
  main()
