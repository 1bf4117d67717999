"""Trains the base model, the shadow models and the released models."""

import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon import files, metrics, registry, stages, store, tree
from informed_recon.stages import Experiment
from informed_recon.training import ensemble, recipe
from informed_recon.types import Records, UserError

# What decides the rows of a store, beside the data: a change elsewhere in the
# config, such as in a reconstructor, leaves the shadow models usable.
DECISIVE = ("seed", "data", "split", "threat", "model", "training")
# Part of the split -> its store: a shadow model for every shadow target, a
# released model for every evaluation target.
STORES = {"targets": "released", "shadow": "shadow"}


class Training(NamedTuple):
  """What the config says about training released and shadow models."""

  train: recipe.Train
  ensemble: ensemble.Ensemble
  hparams: recipe.HParams


def check(experiment: Experiment) -> None:
  if not experiment.dataset.num_classes:
    raise UserError(
      f"data set {experiment.dataset.name!r} has real responses; shadow models "
      "here are classifiers (stages=('convex', ...) fits regressions)"
    )
  privacy(experiment)
  _training(experiment)
  config, split = experiment.config, experiment.split
  for part in ("shadow", "accuracy"):
    if not len(getattr(split, part)):
      raise UserError(f"split.{part} must be at least 1 for this experiment")
  size, known = config.training.batch_size, len(split.fixed)
  if size > known:  # the base model is trained on the fixed set alone
    raise UserError(
      f"training.batch_size {size} exceeds the {known} records of split.fixed"
    )
  if config.perf.chunk_models < 1:
    raise UserError(
      f"perf.chunk_models must be at least 1, got {config.perf.chunk_models}"
    )


def run(experiment: Experiment) -> None:
  """Leaves `base.npz`, the complete stores `released/` and `shadow/`, and the
  released models' accuracy in `released_model.json`."""
  training = _training(experiment)
  base_path = experiment.workdir / "base.npz"
  if not base_path.exists():
    base = ensemble.train_base(
      training.train,
      experiment.key,
      experiment.records("fixed"),
      training.hparams,
    )
    files.write_arrays(base_path, params=base)
  for part, name in STORES.items():
    _fill(experiment, training, part, name)
  about_path = experiment.workdir / "released_model.json"
  if not about_path.exists():
    files.write_json(about_path, _about(experiment))


def privacy(experiment: Experiment) -> dict:
  """What the config's training guarantees, as its mechanism states it."""
  training = experiment.config.training
  mechanism = registry.find("mechanisms", training.privacy.mechanism)
  return mechanism.statement(training.privacy.to_dict(), training.steps)


def _training(experiment: Experiment) -> Training:
  spec, hparams = experiment.training()
  train = recipe.make_train(experiment.model(), spec)
  threat = ensemble.Threat(**experiment.config.threat)
  return Training(train, ensemble.make_ensemble(train, threat), hparams)


def _fill(
  experiment: Experiment, training: Training, part: str, name: str
) -> None:
  """Trains what is missing of one store."""
  config, directory = experiment.config, experiment.store(name)
  ids, targets = getattr(experiment.split, part), experiment.records(part)
  store.create(
    directory,
    rows=len(ids),
    params=experiment.model().num_params,
    chunk_rows=config.perf.chunk_models,
    about=dict(
      models=name,
      config=stages.config_hash(config, DECISIVE),
      data=experiment.identity["data"],
    ),
  )
  missing = store.missing(directory)
  if not missing:
    return
  block = _block(experiment, training, directory, targets)
  fixed, total = experiment.records("fixed"), len(ids)
  done = total - sum(end - start for _, start, end in missing)
  with tqdm(total=total, initial=done, desc=name, unit="model") as bar:
    for chunk, start, end in missing:
      parts = []
      for rows in ensemble.train_blocks(
        training.ensemble,
        experiment.key,
        fixed,
        Records(*(t[start:end] for t in targets)),
        ids[start:end],
        training.hparams,
        block,
      ):
        parts.append(rows)
        bar.update(len(rows))
      rows = np.concatenate(parts)
      diverged = int((~np.isfinite(rows)).any(1).sum())
      if diverged:
        raise UserError(
          f"{diverged} of {len(rows)} {name} models diverged (parameters that "
          "are not finite); lower training.learning_rate"
        )
      store.write_chunk(directory, chunk, rows)
      experiment.log(stage="shadow", store=name, models=end, of=total)


def _block(
  experiment: Experiment,
  training: Training,
  directory: pathlib.Path,
  targets: Records,
) -> int:
  """Models trained at once, kept beside the store so that a resumed run has
  the same bits even if the memory budget was changed in between."""
  path = directory / "block.json"
  if not path.exists():
    size = ensemble.block_size(
      training.ensemble,
      experiment.key,
      experiment.records("fixed"),
      targets,
      training.hparams,
      experiment.config.perf.block_mib << 20,
    )
    files.write_json(path, min(size, experiment.config.perf.chunk_models))
  return files.read_json(path)


def _about(experiment: Experiment) -> dict:
  """Accuracy of the released models on records nobody trained on, and what
  the report says of them."""
  model, threat = experiment.model(), experiment.config.threat
  x, y = map(jnp.asarray, experiment.records("accuracy"))
  like = jax.eval_shape(model.init, experiment.key)

  @jax.jit
  def accuracy(rows):
    def one(row):
      logits = model.apply(tree.unflatten(row, like), x)
      return jnp.mean(jnp.argmax(logits, 1) == y)

    return jax.lax.map(one, rows, batch_size=32)

  released = store.open_rows(experiment.store("released")).all()
  mean, interval = metrics.mean_ci95(np.asarray(accuracy(released), float))
  init = "and" if threat.shared_init else "but not"
  return dict(
    test_accuracy_mean=mean,
    test_accuracy_mean_ci95=list(interval),
    model=experiment.config.model.name,
    parameters=model.num_params,
    models=len(released),
    adversary_knows=f"the training algorithm {init} the initial weights",
    privacy=privacy(experiment),
  )
