"""Everything that this project wants to know of an accelerator, in one command.

python -m bench.accelerator --workdir=runs/accelerator [--minutes=8] [--quick]

Runs the pieces below one after the other, each in a process of its own: rates
of shadow training, kinds of product, reconstructor steps, whether two processes
train the same bytes, the attacks, and the paper's settings as far as they go.
Ended, killed, or after `--minutes`, the same command goes on with what is left:
a piece that was cut short begins where its own run stopped, if it is an
experiment, or anew. `--only=NAME` runs one piece. The workdir then holds each
piece's log and rows, `environment.json`, and every experiment's folder; a table
of all is printed at the end. `--quick` shows on any machine that it works.
"""

import argparse
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
from tqdm import tqdm

from informed_recon.storage import files

GRACE = 20.0  # seconds that a piece has to stop in
SAME = 500  # models that two processes train
# Of the paper's 54,000 CIFAR-10 shadow models: a share that an hour would give.
CIFAR_SHADOWS = 5_400


def pieces(folder: pathlib.Path, quick: bool) -> dict[str, list[list[str]]]:
  """Name of each piece -> its commands, most telling first."""
  short = ["--quick"] * quick

  def bench(name: str, *more: str) -> list[str]:
    rows = folder / f"{name}.jsonl"
    return [f"bench.{name.split('-')[0]}", f"--keep={rows}", *more, *short]

  def run(config: str, name: str, *more: str) -> list[str]:
    form = f"{config.split(':')[0]}:quick" if quick else config
    return [
      *("launch.run", f"--config={form}", f"--workdir={folder / name}"),
      *(more if not quick else ()),
    ]

  fast = "--config.perf.tensorfloat32=True"
  sizes = range(1) if quick else range(4)
  same = f"--config.split.shadow={SAME}"
  return {
    "presets": [bench("presets")],
    **{f"gpu-{i}": [bench(f"gpu-{i}", f"--size={i}")] for i in sizes},
    "reconstructor": [bench("reconstructor")],
    "bytes": [
      [*run("mnist_notebook", f"bytes/{i}", same), "--worker"] for i in range(2)
    ],
    "mnist_paper": [run("mnist_paper:bilinear", "mnist_paper", fast)],
    "simulation": [
      run("simulation_mnist:large", "simulation"),
      # The last targets fill a narrower program better.
      run(
        *("simulation_mnist:large", "simulation_narrow"),
        *("--config.perf.simulation_batch=50", "--config.split.targets=100"),
      ),
    ],
    "stationarity": [run("stationarity_mnist", "stationarity")],
    "cifar10_cnn": [
      run(
        *("cifar10_cnn", "cifar10_cnn", fast),
        f"--config.split.shadow={CIFAR_SHADOWS}",
      )
    ],
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--workdir", default="runs/accelerator")
  parser.add_argument("--minutes", type=float, default=8.0, help="of this call")
  parser.add_argument("--only", action="append", help="name of a piece")
  parser.add_argument("--quick", action="store_true")
  args = parser.parse_args()
  folder = pathlib.Path(args.workdir).absolute()
  every = pieces(folder, args.quick)
  unknown = sorted({*(args.only or ())} - every.keys())
  if unknown:
    parser.error(f"no piece {unknown[0]!r}; known: {', '.join(every)}")
  folder.mkdir(parents=True, exist_ok=True)
  _environment(folder)
  end = time.monotonic() + 60 * args.minutes
  chosen = {name: every[name] for name in args.only or every}
  for name, commands in tqdm(chosen.items(), desc="pieces"):
    for i, command in enumerate(commands):
      work(folder, f"{name}-{i}" if i else name, command, end)
  print(table(folder, chosen))


def work(folder, name: str, command: list[str], end: float) -> None:
  """Runs a command to its end, once, or until the time is over."""
  path = folder / f"{name}.json"
  if path.exists() and files.read_json(path)["state"] in ("done", "failed"):
    return
  left = end - time.monotonic()
  if left <= GRACE:
    return
  start = time.monotonic()
  before = files.read_json(path)["seconds"] if path.exists() else 0.0
  with open(folder / f"{name}.log", "ab") as log:
    process = subprocess.Popen(
      [sys.executable, "-m", *command], stdout=log, stderr=log
    )
    try:
      code = process.wait(left - GRACE)
      state = "done" if code == 0 else "failed"
    except subprocess.TimeoutExpired:
      process.send_signal(signal.SIGINT)
      try:
        process.wait(GRACE)
      except subprocess.TimeoutExpired:
        process.kill()
      state = "cut short"
  seconds = round(before + time.monotonic() - start, 1)
  about = dict(state=state, seconds=seconds, command=command)
  files.write_json(path, about)


def table(folder: pathlib.Path, chosen: dict) -> str:
  """A line a command: how it ended and what it found."""
  lines = []
  for name, commands in chosen.items():
    for i, _ in enumerate(commands):
      own = f"{name}-{i}" if i else name
      path = folder / f"{own}.json"
      about = files.read_json(path) if path.exists() else {}
      state = about.get("state", "not begun")
      lines.append(f"{own:20} {state:10} {about.get('seconds', 0):8.1f} s")
      if state == "failed":
        log = (folder / f"{own}.log").read_text(errors="replace").splitlines()
        lines += [f"  {line}" for line in log[-1:]]
    rows = folder / f"{name}.jsonl"
    if rows.exists():
      lines += [f"  {line}" for line in rows.read_text().splitlines()]
    results = folder / name / "results.json"
    if results.exists():
      attacks = files.read_json(results)["attacks"]
      lines += [f"  {attack}: {row}" for attack, row in attacks.items()]
  if (folder / "bytes/1/shadow").is_dir():
    lines.append(f"two processes trained the same bytes: {_same(folder)}")
  return "\n".join(lines)


def _same(folder: pathlib.Path) -> bool:
  """Whether both runs of `bytes` hold the same models, bit for bit."""
  sums = []
  for i in range(2):
    chunks = sorted((folder / f"bytes/{i}/shadow").glob("chunk-*.npy"))
    digest = hashlib.sha256()
    for chunk in chunks:
      digest.update(np.load(chunk).tobytes())
    sums.append((len(chunks), digest.hexdigest()))
  return sums[0] == sums[1] and sums[0][0] > 0


def _environment(folder: pathlib.Path) -> None:
  """Machine and versions, asked in another process, which gives the device
  back."""
  code = "import json; from informed_recon import stages; "
  code += "print(json.dumps(stages.environment()))"
  found = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  last = found.stdout.strip().splitlines()[-1]
  files.write_json(folder / "environment.json", json.loads(last))


if __name__ == "__main__":
  main()
