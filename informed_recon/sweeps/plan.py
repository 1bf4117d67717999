"""Sweeps: many experiments from one config, each run by its own process.

    points/NAME/       one ordinary experiment a point
    stores/HASH/       models that points share, trained once
    logs/NAME.log      what the point's process printed
    failed/NAME.json   why a point was given up
    results.csv        every number of every point, a row each
    figure.png  sweep.html

What became of a point is read off these files alone, so that it does not
matter who ran it, where, and whether whoever started it is still there.
"""

import csv
import functools
import io
import json
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import matplotlib
from ml_collections import ConfigDict

from informed_recon import data, registry, stages
from informed_recon import experiment as experiments
from informed_recon.report import figures, long_table, page, sweep_page
from informed_recon.report.curves import Result
from informed_recon.stages import shadow
from informed_recon.storage import claims, files
from informed_recon.types import UserError

BAD_INPUT = 2  # exit code of what only the user can mend
ASKED_TO_STOP = {
  -number
  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)
}
START = "=== started"  # in a point's log


class Point(NamedTuple):
  """One experiment of a sweep; plain values, to travel to another machine."""

  name: str  # of its folder
  directory: pathlib.Path  # of the sweep
  overrides: Mapping[str, Any]  # dotted path in the config -> value
  command: tuple[str, ...]  # runs it, or goes on with it

  @property
  def workdir(self) -> pathlib.Path:
    return self.directory / "points" / self.name

  @property
  def results(self) -> pathlib.Path:
    return self.workdir / "results.json"

  @property
  def log(self) -> pathlib.Path:
    return self.directory / "logs" / f"{self.name}.log"

  @property
  def failure(self) -> pathlib.Path:
    return self.directory / "failed" / f"{self.name}.json"


class Sweep(NamedTuple):
  """What `sweep()` of a config file says, checked."""

  title: str
  points: tuple[Point, ...]
  curve: str  # file name in informed_recon/report/curves/, or ""


def plan(
  config: ConfigDict,
  filename: str,
  given: Mapping[str, Any],
  directory: pathlib.Path,
  *,
  force: bool = False,
) -> Sweep:
  """Reads and checks a sweep; writes nothing.

  The config file's `sweep(arg)` yields flat overrides, such as
  `{"training.learning_rate": 0.1}`; its `CURVE` names the figure.

  Args:
    config: what the points have in common.
    filename: of the config, with its argument: "configs/x.py:arg".
    given: overrides of the command line, already in `config`.
    directory: of the sweep.
    force: points take stores that were made otherwise.

  Raises:
    UserError: no sweep, an unknown key, two equal points, or a point whose
      experiment makes no sense.
  """
  path, _, arg = filename.partition(":")
  module = runpy.run_path(path)
  if "sweep" not in module:
    raise UserError(f"{path} has no sweep(); launch.run runs its experiment")
  curve = module.get("CURVE", "")
  if curve:
    registry.find("report.curves", curve)
  # The devices are for the points.
  jax.config.update("jax_platforms", "cpu")
  load = functools.cache(data.load)
  configs: dict[str, ConfigDict] = {}
  seen: dict[str, str] = {}
  overrides = list(module["sweep"](arg))
  for changes in overrides:
    name = _name(changes)
    twice = sorted(given.keys() & changes.keys())
    if twice:
      raise UserError(
        f"--config.{twice[0]} is what the sweep varies ({name}); leave it out"
      )
    configs[name] = _changed(config, changes, name)
    digest = experiments.config_hash(configs[name])
    if digest in seen:
      raise UserError(
        f"two points of the sweep are the same experiment: {seen[digest]!r} "
        f"and {name!r}; remove one"
      )
    seen[digest] = name
    there = directory / "points" / name / "config.json"
    if (
      there.exists() and files.read_json(there)["identity"]["config"] != digest
    ):
      raise UserError(
        f"{there.parent} belongs to another experiment; give another --workdir"
      )
    try:
      stages.build(configs[name], directory, load=load)
    except UserError as error:
      raise UserError(f"point {name!r} of the sweep: {error}") from None
  if not overrides:
    raise UserError(f"sweep() in {path} yields no point")
  shared = _shared_stores(configs, directory)
  return Sweep(
    title=config.title,
    points=tuple(
      Point(
        name=_name(changes),
        directory=directory,
        overrides=dict(changes),
        command=(
          *(sys.executable, "-m", "launch.run", f"--config={filename}"),
          f"--workdir={directory / 'points' / _name(changes)}",
          *(["--force"] if force else []),
          *(
            f"--config.{key}={value}"
            for key, value in [
              *given.items(),
              *changes.items(),
              *shared[_name(changes)].items(),
            ]
          ),
        ),
      )
      for changes in overrides
    ),
    curve=curve,
  )


def _name(changes: Mapping[str, Any]) -> str:
  text = ",".join(f"{key}={value}" for key, value in changes.items())
  return "".join(c if c.isalnum() or c in "=,.-_" else "_" for c in text)


def _changed(config: ConfigDict, changes: Mapping, name: str) -> ConfigDict:
  changed = ConfigDict(config.to_dict()).lock()
  try:
    changed.update_from_flattened_dict(changes)
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    text = str(error).strip("\"'").splitlines()[0]
    raise UserError(f"point {name!r} of the sweep: {text}") from None
  return changed


def _shared_stores(
  configs: Mapping[str, ConfigDict], directory: pathlib.Path
) -> dict[str, dict[str, Any]]:
  """Point -> the store it shares with all whose models are the same, laid out
  for the one that asks for most: the others take its first rows."""
  groups: dict[str, dict[str, int]] = {}
  for name, config in configs.items():
    if "shadow" in config.stages and not config.perf.stores:
      key = experiments.json_hash(shadow.decisive(config))
      groups.setdefault(key, {})[name] = config.split.shadow
  shared: dict[str, dict[str, Any]] = {name: {} for name in configs}
  for key, sizes in groups.items():
    for name in sizes:
      shared[name] = {
        "perf.stores": directory.absolute() / "stores" / key,
        "perf.store_models": max(sizes.values()),
      }
  return shared


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


def collect(sweep: Sweep, directory: pathlib.Path) -> None:
  """Leaves `results.csv`, `figure.png` and `sweep.html` of what is done."""
  done = [
    Result(point.overrides, files.read_json(point.results))
    for point in sweep.points
    if point.results.exists()
  ]
  keys = list(dict.fromkeys(k for p in sweep.points for k in p.overrides))
  header = [*keys, "group", "name", "metric", "value", "ci95_low", "ci95_high"]
  rows = [
    [*(result.overrides.get(k) for k in keys), *row]
    for result in done
    for row in long_table.numbers(result.results)
  ]
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows([header, *rows])
  files.write_text(directory / "results.csv", text.getvalue())
  image, sentences = None, []
  if sweep.curve and done:
    with matplotlib.rc_context(figures.STYLE):
      figure, sentences = registry.find("report.curves", sweep.curve).draw(done)
    image = page.save_figure(directory / "figure.png", figure)
  html = sweep_page.render(
    title=sweep.title,
    sentences=sentences,
    image=image,
    states=[(p.name, *state(p)) for p in sweep.points],
    header=header,
    rows=[row for row in rows if row[-4] == "mse_mean"],
  )
  files.write_text(directory / "sweep.html", html)
