"""The steps of an experiment, one file each: `run(experiment) -> None`.

Every stage can be run again: it finds what is done and does the rest. Stages
are the only code that sees a ConfigDict; below them everything is arguments.
"""

import dataclasses
import importlib.metadata
import json
import os
import pathlib
import platform
import time
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import informed_recon
from informed_recon import (
  claims,
  data,
  files,
  identity,
  models,
  perceptual,
  prng,
  registry,
  splits,
)
from informed_recon.store import Rows, open_rows
from informed_recon.training.recipe import (
  HParams,
  Recipe,
  Train,
  make_train,
)
from informed_recon.types import Records, UserError

# Part of the split -> its store: a shadow model for every shadow target, a
# released model for every evaluation target.
STORES = {"targets": "released", "shadow": "shadow"}
PURPOSES = ("loss", "judge")  # of a perceptual distance
CLAIM = "run"  # beside it lies the claim of the process that runs a workdir


class Experiment(NamedTuple):
  """A checked config with all that is built from it."""

  config: ConfigDict
  workdir: pathlib.Path
  identity: Mapping[str, str]  # what every stored row belongs to
  dataset: data.Dataset
  split: splits.Split
  key: jax.Array  # root of all random streams
  force: bool = False  # take a store that was made otherwise

  def records(self, part: str) -> Records:
    """The records of one part of the split, such as "fixed"."""
    ids = getattr(self.split, part)
    return Records(*(a[ids] for a in self.dataset.records))

  def held(self) -> Records:
    """All records the adversary holds: fixed set, then shadow targets."""
    ids = np.concatenate([self.split.fixed, self.split.shadow])
    return Records(*(a[ids] for a in self.dataset.records))

  def store(self, part: str) -> pathlib.Path:
    """Folder of a part's models: this run's, or one shared between runs."""
    return pathlib.Path(self.config.perf.stores or self.workdir) / STORES[part]

  def rows(self, part: str) -> Rows:
    """The trained models of a part, one a record of it."""
    return open_rows(self.store(part), len(getattr(self.split, part)))

  def model(self) -> models.Model:
    """The released model's architecture, for stages that train networks."""
    spec = self.config.model
    return models.build(
      spec.name,
      self.dataset.num_classes,
      self.dataset.shape,
      spec.options.to_dict(),
    )

  def privacy(self) -> dict:
    """What the config's training guarantees, as its mechanism states it."""
    training = self.config.training
    mechanism = registry.find("mechanisms", training.privacy.mechanism)
    return mechanism.statement(training.privacy.to_dict(), training.steps)

  def training(self) -> tuple[Recipe, HParams]:
    """What is static and what is traced in the released model's training."""
    static = self.config.training.to_dict()
    private = static.pop("privacy")
    traced = HParams(
      learning_rate=static.pop("learning_rate"),
      l2=static.pop("l2"),
      clip_norm=private["clip_norm"],
      noise_multiplier=self.privacy().get("noise_multiplier", 0.0),
    )
    static |= {k: private[k] for k in ("mechanism", "sampling_probability")}
    return Recipe(**static), traced

  def train(self, remat: bool = False, **changes: Any) -> Train:
    """One run of the released model's training, on this fixed set; `changes`
    to its recipe, of what is no part of the experiment."""
    recipe, _ = self.training()
    recipe = dataclasses.replace(recipe, **changes)
    lit = np.any(self.records("fixed").x, axis=0)
    return make_train(self.model(), recipe, lit=lit, remat=remat)

  @property
  def taught_classes(self) -> int:
    """Number of classes in `taught`."""
    return self.dataset.num_classes * (2 if self.dataset.foreign else 1)

  def taught(self) -> Records:
    """What the adversary holds, for networks that learn to see it: a foreign
    record's label is a class of its own."""
    held, (own, foreign) = self.held(), self.dataset.sizes
    if not foreign:
      return held
    is_foreign = np.concatenate([self.split.fixed, self.split.shadow]) >= own
    return held._replace(y=held.y + self.dataset.num_classes * is_foreign)

  def perceptual(self, purpose: str) -> perceptual.Distance | None:
    """The config's perceptual distance, if it has one, for one of `PURPOSES`.

    What a reconstructor was trained to please is no judge: features that are
    trained here are a purpose's own, and published ones that a loss looks at
    are judged by trained ones.
    """
    if "perceptual" not in self.config:
      return None
    return perceptual.build(
      _features(self.config, purpose),
      self.taught(),
      self.taught_classes,
      prng.stream(self.key, f"perceptual {purpose}"),
      self.config.perf.lpips,
    )

  def log(self, **row) -> None:
    """Appends one line to metrics.jsonl."""
    with open(self.workdir / "metrics.jsonl", "a") as file:
      file.write(json.dumps(row) + "\n")


def _features(config: ConfigDict, purpose: str) -> perceptual.Spec:
  """Which features a purpose takes."""
  spec = perceptual.Spec(**config.perceptual)
  specs = config.reconstructors.values()
  in_loss = any(s.get("perceptual_weight", 0.0) for s in specs)
  if purpose == "judge" and in_loss:
    return dataclasses.replace(spec, sha256="")
  return spec


def build(
  config: ConfigDict,
  workdir: str | os.PathLike,
  force: bool = False,
  load: Callable[[data.DataSpec], data.Dataset] = data.load,
) -> Experiment:
  """Builds and checks everything a config names; writes nothing.

  Raises:
    UserError: anything in the config or its data that a user can mend.
  """
  dataset = load(data.DataSpec(**config.data, data_dir=config.perf.data_dir))
  split = splits.split(*dataset.sizes, **config.split)
  experiment = Experiment(
    config=config,
    workdir=pathlib.Path(workdir),
    identity=dict(
      config=identity.config_hash(config), data=dataset.fingerprint()
    ),
    dataset=dataset,
    split=split,
    key=prng.root(config.seed),
    force=force,
  )
  reporter(config)
  if "perceptual" in config:
    kind = dataset.shape, dataset.num_classes
    loss, judge = (_features(config, purpose) for purpose in PURPOSES)
    perceptual.check(loss, *kind, config.perf.lpips)
    if judge != loss:
      perceptual.check(judge, *kind, "")
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
  _enter(experiment)
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
  _enter(experiment)
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
  timing_path = experiment.workdir / "timing.json"
  for stage in experiment.config.stages:
    timing = files.read_json(timing_path) if timing_path.exists() else {}
    start = time.perf_counter()
    registry.find("stages", stage).run(experiment)
    seconds = time.perf_counter() - start
    timing[stage] = round(timing.get(stage, 0.0) + seconds, 3)
    files.write_json(timing_path, timing)
  evaluation = experiment.workdir / "evaluation/results.json"
  results = files.read_json(evaluation) if evaluation.exists() else {}
  results |= dict(timing_seconds=timing, environment=environment())
  files.write_json(experiment.workdir / "results.json", results)
  return results


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


def _enter(experiment: Experiment) -> None:
  """Makes the workdir this experiment's, or refuses it."""
  path = experiment.workdir / "config.json"
  mine = dict(
    identity=dict(experiment.identity),
    config=json.loads(json.dumps(experiment.config.to_dict())),
  )
  try:
    experiment.workdir.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"cannot make the folder {experiment.workdir}: {error.strerror}"
    ) from None
  if not path.exists():
    if any(not p.name.startswith(".") for p in experiment.workdir.iterdir()):
      raise UserError(
        f"{experiment.workdir} is not empty and holds no experiment; "
        "give another --workdir"
      )
  files.write_new_json(path, mine)
  found = files.read_json(path)
  if found["identity"] == mine["identity"]:
    files.write_arrays(
      experiment.workdir / "split.npz", **experiment.split._asdict()
    )
    return
  there, here = ConfigDict(found["config"]), experiment.config
  old, new = identity.flatten(there), identity.flatten(here)
  differs = [
    f"{k} ({old.get(k)} there, {new.get(k)} here)"
    for k in sorted(old.keys() | new.keys())
    if old.get(k) != new.get(k)
  ]
  what = ", ".join(differs[:3]) or "the data themselves"
  raise UserError(
    f"{experiment.workdir} belongs to another experiment, which differs in "
    f"{what}; give another --workdir"
  )
