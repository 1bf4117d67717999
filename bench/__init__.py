"""Measurements side by side: ours, a peer and the machine's limit in one run.

Machines are noisy, so every case is a ratio of medians over interleaved
rounds in one process. `python -m bench.NAME --quick` prints one JSON object a
line.
"""

import json
import pathlib
import statistics
import time
from collections.abc import Callable, Iterable, Mapping

from informed_recon import allocator

allocator.keep_freed_memory()  # as every command does


def interleaved(
  cases: Mapping[str, Callable[[], None]], rounds: int
) -> dict[str, float]:
  """Median seconds of each case, run in turn `rounds` times after a warm-up.

  A case must not return before its work is done.
  """
  seconds = {name: [] for name in cases}
  for run in cases.values():
    run()
  for _ in range(rounds):
    for name, run in cases.items():
      start = time.perf_counter()
      run()
      seconds[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in seconds.items()}


def printed(rows: Iterable[dict], keep: str = "") -> list[dict]:
  """Prints rows as they come, then machine and versions; to a file as well, if
  one is named. Returns the rows."""
  from informed_recon import stages

  done = []
  for row in rows:
    print(json.dumps(row), flush=True)
    done.append(row)
  environment = dict(environment=stages.environment())
  print(json.dumps(environment))
  if keep:
    lines = (json.dumps(row) + "\n" for row in [*done, environment])
    pathlib.Path(keep).write_text("".join(lines))
  return done


def resumed(cases: Mapping[str, Callable[[], dict]], keep: str = "") -> None:
  """Runs the cases that `keep` has no row of, and prints and adds each row as
  it comes; a run that was cut short goes on."""
  from informed_recon import stages

  path = pathlib.Path(keep) if keep else None
  lines = path.read_text().splitlines() if path and path.exists() else []
  done = {json.loads(line).get("case") for line in lines}
  for case, run in cases.items():
    if case in done:
      continue
    row = json.dumps(dict(case=case) | run())
    print(row, flush=True)
    if path:
      with path.open("a") as file:
        file.write(row + "\n")
  environment = json.dumps(dict(environment=stages.environment()))
  print(environment)
  if path and environment not in lines:
    with path.open("a") as file:
      file.write(environment + "\n")


def matched(found, truth):
  """MSE of each true record (k, d) in the best pairing with those found, and
  the index of its answer."""
  from scipy import optimize

  square = ((truth[:, None] - found[None]) ** 2).mean(-1)
  i, j = optimize.linear_sum_assignment(square)
  return square[i, j], j
