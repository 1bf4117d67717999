"""The steps of an experiment, one file each: `run(experiment) -> None`.

Every stage can be run again: it finds what is done and does the rest. Stages
are the only code that sees a ConfigDict; below them everything is arguments.
"""

import importlib.metadata
import os
import pathlib
import platform
import time
from collections.abc import Callable
from types import ModuleType

import jax
from ml_collections import ConfigDict

import informed_recon
from informed_recon import data, registry
from informed_recon import experiment as experiments
from informed_recon.experiment import Experiment
from informed_recon.storage import claims, files
from informed_recon.types import UserError

TIMING = "timing.json"
EXPORTS = ("run",)
CLAIM = "run"  # beside it lies the claim of the process that runs a workdir


def build(
  config: ConfigDict,
  workdir: str | os.PathLike,
  force: bool = False,
  load: Callable[[data.DataSpec], data.Dataset] = data.load,
) -> Experiment:
  """An experiment that every stage of it accepts; writes nothing.

  Raises:
    UserError: anything in the config or its data that a user can mend.
  """
  experiment = experiments.build(config, workdir, force, load)
  reporter(config)
  for stage in config.stages:
    check = getattr(registry.find("stages", stage), "check", None)
    if check is not None:
      check(experiment)
  return experiment


def run(
  config: ConfigDict, workdir: str | os.PathLike, force: bool = False
) -> dict:
  """Runs all stages of an experiment; returns the content of results.json.

  Run again with the same arguments, it goes on where it was interrupted. A
  second process on the same workdir waits for the first; of the processes of
  one distributed run all train models, and the first does the rest.

  Raises:
    UserError: bad config or data, or a workdir of another experiment.
  """
  experiment = build(config, workdir, force)
  experiments.enter(experiment)
  if jax.process_index():
    _work(experiment)
    return _first_process(experiment.workdir)
  with claims.wait(experiment.workdir / CLAIM):
    return _run(experiment)


def work(
  config: ConfigDict, workdir: str | os.PathLike, force: bool = False
) -> None:
  """Helps with an experiment's models until all of them are trained.

  Any number of processes may do so, beside the one that runs it or without.
  """
  experiment = build(config, workdir, force)
  experiments.enter(experiment)
  _work(experiment)


def _work(experiment: Experiment) -> None:
  for stage in experiment.config.stages:
    module = registry.find("stages", stage)
    if hasattr(module, "work"):
      module.work(experiment)


def _first_process(workdir: pathlib.Path) -> dict:
  """Waits for its results: jax ends all processes of a run with the first
  that leaves."""
  seen = time.monotonic()
  while not (workdir / "results.json").exists():
    if claims.alive(workdir / CLAIM):
      seen = time.monotonic()
    elif time.monotonic() - seen > claims.STALE:
      raise RuntimeError(f"process 0 left {workdir} without results")
    time.sleep(claims.PAUSE[0])
  return files.read_json(workdir / "results.json")


def _run(experiment: Experiment) -> dict:
  for stage in experiment.config.stages:
    took = timing(experiment)
    start = time.perf_counter()
    registry.find("stages", stage).run(experiment)
    seconds = time.perf_counter() - start
    took[stage] = round(took.get(stage, 0.0) + seconds, 3)
    files.write_json(experiment.workdir / TIMING, took)
  results = files.read_json(experiment.evaluation / "results.json")
  results |= dict(timing_seconds=took, environment=environment())
  files.write_json(experiment.workdir / "results.json", results)
  return results


def timing(experiment: Experiment) -> dict[str, float]:
  """Stage -> seconds it took in all starts; what is damaged is forgotten."""
  try:
    found = files.read_json(experiment.workdir / TIMING)
    return {str(k): float(v) for k, v in found.items()}
  except (FileNotFoundError, ValueError, AttributeError, TypeError):
    return {}


def reporter(config: ConfigDict) -> ModuleType:
  """What shows an experiment's results, with `text(results)` for a terminal
  and `page(experiment, results)`: the `REPORT` of the stage that makes them.

  Raises:
    UserError: no stage does.
  """
  for stage in config.stages:
    module = registry.find("stages", stage)
    if hasattr(module, "REPORT"):
      return module.REPORT
  raise UserError(
    "stages must include 'evaluate' or another one that makes the results, "
    f"got {', '.join(config.stages)}"
  )


def environment() -> dict[str, str]:
  """Machine and versions a result came from."""
  packages = ("jax", "jaxlib", "flax", "optax", "numpy", "scipy")
  versions = {name: importlib.metadata.version(name) for name in packages}
  devices = jax.devices()
  return dict(
    informed_recon=informed_recon.__version__,
    python=platform.python_version(),
    devices=f"{len(devices)} x {devices[0].device_kind}",
    cores=str(os.cpu_count()),
    machine=f"{platform.system()} {platform.machine()}",
    **versions,
  )
