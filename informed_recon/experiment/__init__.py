"""A checked config with all that is built from it."""

import dataclasses
import functools
import json
import math
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from informed_recon import data, models, prng, registry, splits
from informed_recon.evaluation import perceptual
from informed_recon.experiment import identity
from informed_recon.storage import files
from informed_recon.storage.store import Rows, open_rows
from informed_recon.training.loop import make_train
from informed_recon.training.recipe import Gradient, HParams, Recipe, Train
from informed_recon.training.release import Release, publish
from informed_recon.types import Records, UserError

# Part of the split -> its store: a shadow model for every shadow target, a
# released model for every evaluation target.
STORES = {"targets": "released", "shadow": "shadow"}
PURPOSES = ("loss", "judge")  # of a perceptual distance


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

  def adversary_records(self) -> Records:
    """All records the adversary has: fixed set, then shadow targets."""
    ids = np.concatenate([self.split.fixed, self.split.shadow])
    return Records(*(a[ids] for a in self.dataset.records))

  def store(self, part: str) -> pathlib.Path:
    """Folder of a part's models: this run's, or one shared between runs."""
    mine = part == "targets" and self.misled
    shared = "" if mine else self.config.perf.stores
    return pathlib.Path(shared or self.workdir) / STORES[part]

  def rows(self, part: str, *, whole: bool = False) -> Rows:
    """The trained models of a part, one a record of it, as they are published;
    with `whole` no layer is left out."""
    rows = open_rows(self.store(part), len(getattr(self.split, part)))
    how = self.release(whole=whole)
    if how == Release():
      return rows
    layout = self.model().layout
    chunks = (publish(chunk, layout, how) for chunk in rows.chunks)
    return dataclasses.replace(rows, chunks=tuple(chunks))

  def release(self, *, whole: bool = False) -> Release:
    """What is published of a model."""
    given = self.config.get("release", {})
    changed = {"layers": ""} if whole else {}
    return Release(**(dict(given) | changed))

  @property
  def misled(self) -> bool:
    """Whether the released models were trained otherwise than the adversary
    believes."""
    flat = identity.flatten(self.config)
    return any(key.startswith("truth.") for key in flat)

  def truth(self) -> "Experiment":
    """The experiment as the released models saw it."""
    if not self.misled:
      return self
    truth, config = self.config.truth, self.config.copy_and_resolve_references()
    with config.unlocked():
      config.training.learning_rate *= truth.rate
      config.training.steps += truth.more_steps
    # The last of the unused records: more shadow targets, which are cut from
    # the first of them, leave the released models what they are.
    kept = len(self.split.unused) - truth.replaced - truth.missing
    others = self.split.unused[kept:]
    fixed = self.split.fixed[: len(self.split.fixed) - truth.replaced]
    split = self.split._replace(
      unused=self.split.unused[:kept], fixed=np.append(fixed, others)
    )
    key = prng.stream(self.key, "truth") if truth.other_seed else self.key
    return self._replace(config=config, split=split, key=key)

  def model(self) -> models.Model:
    """The released model's architecture, for stages that train networks."""
    settings = json.dumps(self.config.model.to_dict())
    return _model(settings, self.dataset.num_classes, self.dataset.shape)

  def privacy(self) -> dict:
    """What the config's training guarantees, as its mechanism states it."""
    training = self.config.training
    settings = json.dumps(training.privacy.to_dict())
    return dict(_statement(settings, training.steps))

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
    if not 0 < traced.learning_rate < math.inf:
      raise UserError(
        "training.learning_rate must be positive and finite, got "
        f"{traced.learning_rate}"
      )
    if not 0 <= traced.l2 < math.inf:
      raise UserError(
        f"training.l2 must be at least 0 and finite, got {traced.l2}"
      )
    static |= {k: private[k] for k in ("mechanism", "sampling_probability")}
    static["mechanism_options"] = private.get("options", {})
    return Recipe(**static), traced

  def train(
    self,
    *,
    products: str = "",
    gradient: Gradient | None = None,
    remat: bool = False,
  ) -> Train:
    """One run of the released model's training, on this fixed set; `products`
    in place of the config's, the rest as `make_train` has it."""
    recipe, _ = self.training()
    recipe = dataclasses.replace(recipe, products=products or recipe.products)
    lit = np.any(self.records("fixed").x, axis=0)
    return make_train(
      self.model(), recipe, gradient=gradient, lit=lit, remat=remat
    )

  @property
  def taught_classes(self) -> int:
    """Number of classes in `taught`."""
    return self.dataset.num_classes * (2 if self.dataset.foreign else 1)

  def taught(self) -> Records:
    """What the adversary has, for networks that learn to see it: a foreign
    record's label is a class of its own."""
    records, (own, foreign) = self.adversary_records(), self.dataset.sizes
    if not foreign:
      return records
    is_foreign = np.concatenate([self.split.fixed, self.split.shadow]) >= own
    return records._replace(y=records.y + self.dataset.num_classes * is_foreign)

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

  @property
  def evaluation(self) -> pathlib.Path:
    """Folder of the scores; one of its own where a run is evaluated again
    with other settings than it began with."""
    path = self.workdir / "config.json"
    if path.exists():
      first = files.read_sealed(path)["config"].get("evaluation")
      mine = json.loads(json.dumps(self.config.to_dict())).get("evaluation")
      if first != mine:
        return self.workdir / f"evaluation-{identity.json_hash(mine)[:8]}"
    return self.workdir / "evaluation"

  def log(self, **row) -> None:
    """Appends one line to metrics.jsonl."""
    with open(self.workdir / "metrics.jsonl", "a") as file:
      file.write(json.dumps(row) + "\n")


@functools.cache
def _model(settings: str, num_classes: int, shape: tuple) -> models.Model:
  """Built once a process: every stage and every point of a sweep asks."""
  spec = json.loads(settings)
  options = {  # JSON knows no tuples
    key: tuple(value) if isinstance(value, list) else value
    for key, value in spec["options"].items()
  }
  return models.build(spec["name"], num_classes, shape, options)


@functools.cache
def _statement(settings: str, steps: int) -> Mapping:
  """What a mechanism guarantees; the accounting takes seconds, once."""
  private = json.loads(settings)
  mechanism = registry.find("training.mechanisms", private["mechanism"])
  return mechanism.statement(private, steps)


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
  dataset = load(
    data.DataSpec(**config.data.to_dict(), data_dir=config.perf.data_dir)
  )
  split = splits.split(*dataset.sizes, **config.split)
  _check_truth(config, split)
  experiment = Experiment(
    config=config,
    workdir=pathlib.Path(workdir),
    identity=dict(
      config=identity.config_hash(config),
      data=dataset.fingerprint(),
      **identity.numerics(),
    ),
    dataset=dataset,
    split=split,
    key=prng.root(config.seed),
    force=force,
  )
  if "perceptual" in config:
    kind = dataset.shape, dataset.num_classes
    loss, judge = (_features(config, purpose) for purpose in PURPOSES)
    perceptual.check(loss, *kind, config.perf.lpips)
    if judge != loss:
      perceptual.check(judge, *kind, "")
  return experiment


def _check_truth(config: ConfigDict, split: splits.Split) -> None:
  truth = config.get("truth", None)
  if truth is None:
    return
  if (
    not 0 < truth.rate < math.inf
    or min(truth.more_steps, truth.replaced, truth.missing) < 0
  ):
    raise UserError(
      "truth wants a positive rate, and more_steps, replaced and missing of at "
      "least 0"
    )
  if truth.replaced >= len(split.fixed):
    raise UserError(
      f"truth.replaced must be less than split.fixed = {len(split.fixed)}, got "
      f"{truth.replaced}"
    )
  wanted, unused = truth.replaced + truth.missing, len(split.unused)
  if wanted > unused:
    raise UserError(
      f"truth.replaced and truth.missing ask for {wanted} records that no part "
      f"of the split uses, the data set has {unused} left; make them or a part "
      "of the split smaller"
    )


def enter(experiment: Experiment) -> None:
  """Makes the workdir this experiment's, or refuses it."""
  path = experiment.workdir / "config.json"
  mine = dict(
    identity=dict(experiment.identity),
    config=json.loads(json.dumps(experiment.config.to_dict())),
  )
  files.make_folder(experiment.workdir)
  if not path.exists():
    if any(not p.name.startswith(".") for p in experiment.workdir.iterdir()):
      raise UserError(
        f"{experiment.workdir} is not empty and holds no experiment; "
        "give another --workdir"
      )
  files.write_new_sealed(path, mine)
  found = files.read_sealed(path)
  if not found.keys() >= mine.keys():
    raise files.Damaged(path, "it holds no config")
  differs = _differences(found, mine)
  if all(key.startswith("evaluation.") for key in differs):
    return  # with other such settings it is evaluated again, beside the first
  what = ", ".join(list(differs.values())[:3])
  raise UserError(
    f"{experiment.workdir} belongs to another experiment, which differs in "
    f"{what} (says {path}); give another --workdir"
  )


def _differences(there: Mapping, here: Mapping) -> dict[str, str]:
  """What tells two experiments apart: key -> words, as in config.json."""
  old, new = (identity.flatten(ConfigDict(c["config"])) for c in (there, here))
  settings = [c["identity"].get("settings", "the usual") for c in (there, here)]
  differs = {
    key: f"{key} ({old.get(key)} there, {new.get(key)} here)"
    for key in sorted(old.keys() | new.keys())
    if old.get(key) != new.get(key)
  }
  if settings[0] != settings[1]:
    text = "{} there, {} here".format(*settings)
    differs = {"settings": f"settings of jax ({text})"} | differs
  if there["identity"]["data"] != here["identity"]["data"]:
    differs["data themselves"] = "the data themselves"
  return differs
