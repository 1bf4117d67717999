"""The points of a sweep, read off its config file and checked.

points/NAME/       one ordinary experiment a point
stores/HASH/       models that points share, trained once
logs/NAME.log      what the point's process printed
failed/NAME.json   why a point was given up
results.csv        every number of every point, a row each
figure.png  sweep.html
"""

import csv
import functools
import pathlib
import runpy
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from informed_recon import choices, data, registry, stages
from informed_recon.experiment import identity
from informed_recon.stages import shadow
from informed_recon.storage import files
from informed_recon.sweeps import hyper
from informed_recon.types import UserError


class Point(NamedTuple):
  """One experiment of a sweep; plain values, to travel to another machine."""

  name: str  # of its folder
  directory: pathlib.Path  # of the sweep
  overrides: Mapping[str, Any]  # dotted path in the config -> value
  command: tuple[str, ...]  # runs it, or goes on with it
  labels: Mapping[str, Any] = {}  # what the sweep calls it, if it does

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
  `{"training.learning_rate": 0.1}`. Beside them there may be `"labels"`, a dict
  that names the point: its folder, and its rows in results.csv. In place of
  `sweep` there may be big_vision's `get_hyper(hyper)` (`sweeps.hyper`), whose
  keys begin with "config.". `CURVE` names the figure.

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
  curve = module.get("CURVE", "")
  if curve:
    registry.find("report.curves", curve)
  load = functools.cache(data.load)
  configs: dict[str, ConfigDict] = {}
  hashes: dict[str, str] = {}
  points = [dict(point) for point in _overrides(module, path, arg)]
  labels = [point.pop("labels", {}) for point in points]
  for changes, label in zip(points, labels):
    name = _name(label or changes)
    twice = sorted(given.keys() & changes.keys())
    if twice:
      raise UserError(
        f"--config.{twice[0]} is what the sweep varies ({name}); leave it out"
      )
    changed = _changed(config, changes, name)
    other = hashes.setdefault(identity.config_hash(changed), name)
    if other != name or name in configs:
      raise UserError(
        f"two points of the sweep are the same experiment: {other!r} "
        f"and {name!r}; remove one"
      )
    _check(name, changed, directory, load)
    configs[name] = changed
  if not points:
    raise UserError(f"the sweep in {path} yields no point")
  shared = _shared_stores(configs, directory)
  options = ["--force"] if force else []
  return Sweep(
    title=config.title,
    points=tuple(
      Point(
        name=name,
        directory=directory,
        overrides=dict(changes),
        command=(
          sys.executable,
          "-m",
          "informed_recon",
          "run",
          f"--config={filename}",
          f"--workdir={directory / 'points' / name}",
          *options,
          *(
            f"--config.{key}={value}"
            for key, value in (given | changes | shared[name]).items()
          ),
        ),
        labels=label,
      )
      for name, changes, label in zip(configs, points, labels)
    ),
    curve=curve,
  )


def without_known(sweep: Sweep, folder: pathlib.Path) -> Sweep:
  """The sweep without the points whose labels a row in one of the tables
  `folder/*.csv` has."""
  rows = []
  for path in sorted(folder.glob("*.csv")):
    with open(path, newline="") as file:
      rows += csv.DictReader(file)
  if not rows:
    raise UserError(f"--known: no table in {folder}")

  def known(point: Point) -> bool:
    labels = {k: str(v) for k, v in point.labels.items()}
    return bool(labels) and any(labels.items() <= r.items() for r in rows)

  left = tuple(point for point in sweep.points if not known(point))
  return sweep._replace(points=left)


def _overrides(
  module: Mapping[str, Any], path: str, arg: str
) -> Iterator[dict[str, Any]]:
  """The overrides of each point, as either form of a sweep gives them."""
  if "sweep" in module:
    yield from module["sweep"](arg)
  elif "get_hyper" in module:
    for changes in module["get_hyper"](hyper):
      yield {key.removeprefix("config."): v for key, v in changes.items()}
  else:
    raise UserError(
      f"{path} has no sweep(arg) and no get_hyper(hyper); "
      "informed-recon run runs its experiment"
    )


def _check(
  name: str, config: ConfigDict, directory: pathlib.Path, load
) -> None:
  """Refuses a point that cannot run, or whose folder is another's."""
  there = directory / "points" / name / "config.json"
  digest = identity.config_hash(config)
  if there.exists() and files.read_json(there)["identity"]["config"] != digest:
    raise UserError(
      f"{there.parent} belongs to another experiment; give another --workdir"
    )
  if (there.parent / "results.json").exists():
    return  # it could run
  try:
    stages.build(config, directory, load=load)
  except UserError as error:
    raise UserError(f"point {name!r} of the sweep: {error}") from None


def _name(changes: Mapping[str, Any]) -> str:
  text = ",".join(f"{key}={value}" for key, value in changes.items())
  return "".join(c if c.isalnum() or c in "=,.-_" else "_" for c in text)


def _changed(config: ConfigDict, changes: Mapping, name: str) -> ConfigDict:
  changed = ConfigDict(config.to_dict())
  try:
    choices.choose(changed, changes)
    changed.lock().update_from_flattened_dict(changes)
  except UserError as error:
    raise UserError(f"point {name!r} of the sweep: {error}") from None
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
      key = identity.json_hash(shadow.decisive(config))
      groups.setdefault(key, {})[name] = config.split.shadow
  shared: dict[str, dict[str, Any]] = {name: {} for name in configs}
  for key, sizes in groups.items():
    for name in sizes:
      shared[name] = {
        "perf.stores": directory.absolute() / "stores" / key,
        "perf.store_models": max(sizes.values()),
      }
  return shared
