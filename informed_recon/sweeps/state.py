"""What became of a sweep's points, and the process that runs one.

A state is read off a point's files alone, so that it does not matter who ran
it, where, and whether whoever started it is still there.
"""

import json
import pathlib
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from informed_recon import stages
from informed_recon.storage import claims, files
from informed_recon.sweeps.plan import Point

BAD_INPUT = 2  # exit code of what only the user can mend
ASKED_TO_STOP = {
  -number
  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
}
START = "=== started"  # in a point's log


def attempt(
  point: Point, retries: int, environment: Mapping[str, str] | None = None
) -> None:
  """Runs a point's process, again after a failure, and notes the last one.

  Bad input is not tried twice, and a process that was asked to stop has not
  failed.
  """
  if point.results.exists():
    return
  point.log.parent.mkdir(parents=True, exist_ok=True)
  point.failure.unlink(missing_ok=True)
  attempts, code = 0, None
  while attempts <= retries and code != BAD_INPUT:
    attempts += 1
    with open(point.log, "a") as log:
      print(f"{START} on {socket.gethostname()}", file=log, flush=True)
      code = subprocess.run(
        point.command, stdout=log, stderr=log, env=environment
      ).returncode
    if code == 0 or code in ASKED_TO_STOP:
      return
  why = f"killed by signal {-code}" if code < 0 else _last_line(point.log)
  give_up(
    point, "failed", why + ("" if attempts == 1 else f" ({attempts} tries)")
  )


def give_up(point: Point, what: str, why: str) -> None:
  """Notes that nobody works on a point any more, until the next launch."""
  files.write_json(point.failure, dict(what=what, why=why))


def _last_line(log: pathlib.Path) -> str:
  lines = log.read_text(errors="replace").splitlines()
  return next((line.strip() for line in reversed(lines) if line.strip()), "")


class State(NamedTuple):
  """What became of a point."""

  what: str  # done, running, failed, cancelled, interrupted or waiting
  remark: str = ""
  seconds: float = 0.0  # its stages took, where it is done


def state(point: Point) -> State:
  if point.results.exists():
    results = files.read_json(point.results)
    seconds = sum(results["timing_seconds"].values())
    return State("done", _starts(point), seconds)
  if claims.alive(point.workdir / stages.CLAIM):
    return State("running", _progress(point))
  if point.failure.exists():
    failure = files.read_json(point.failure)
    return State(failure["what"], failure["why"])
  if (point.workdir / "config.json").exists():
    return State("interrupted", "it is no more at work; run the sweep again")
  return State("waiting")


def _starts(point: Point) -> str:
  """How often it took more than one start, by its log."""
  text = point.log.read_text(errors="replace") if point.log.exists() else ""
  count = sum(line.startswith(START) for line in text.splitlines())
  return f"after {count} starts" if count > 1 else ""


def _progress(point: Point) -> str:
  log = point.workdir / "metrics.jsonl"
  try:
    row = dict(json.loads(log.read_text().splitlines()[-1]))
  except (OSError, IndexError, TypeError, ValueError):
    return ""
  stage = row.pop("stage", "")
  shown = {k: v for k, v in row.items() if isinstance(v, int | str)}
  return " ".join([stage, *(f"{k} {v}" for k, v in shown.items())])


def status(points: Sequence[Point], jobs: int) -> str:
  """The sweep as a table for people, with the time left."""
  states = [state(point) for point in points]
  rows = [
    (p.name, s.what, f"{s.seconds:.0f} s" if s.seconds else "", s.remark[:100])
    for p, s in zip(points, states)
  ]
  rows.insert(0, ("point", "state", "took", ""))
  widths = [max(map(len, column)) for column in zip(*rows)]
  lines = [
    "  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows
  ]
  return "\n".join([*lines, _tally(states, jobs)])


def _tally(states: Sequence[State], jobs: int) -> str:
  counts = {s.what: 0 for s in states}
  for s in states:
    counts[s.what] += 1
  text = ", ".join(f"{n} {what}" for what, n in counts.items())
  seconds = [s.seconds for s in states if s.what == "done"]
  left = sum(s.what in ("running", "waiting") for s in states)
  if left and seconds:
    mean = sum(seconds) / len(seconds)
    text += f"; about {mean * left / jobs / 60:.0f} min left"
  return f"{text} (of {len(states)})"


def finished(points: Sequence[Point]) -> bool:
  return all(point.results.exists() for point in points)
