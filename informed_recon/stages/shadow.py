"""Trains the base model, the shadow models and the released models."""

import numpy as np
from tqdm import tqdm

from informed_recon import files, stages, store
from informed_recon.stages import Experiment
from informed_recon.training import ensemble, recipe
from informed_recon.types import UserError

# What decides the rows of a store, beside the data: a change elsewhere in the
# config, such as in a reconstructor, leaves the shadow models usable.
DECISIVE = ("seed", "data", "split", "threat", "model", "training")
# Part of the split -> its store: a shadow model for every shadow target, a
# released model for every evaluation target.
STORES = {"targets": "released", "shadow": "shadow"}


def check(experiment: Experiment) -> None:
  recipe.make_train(experiment.model, experiment.recipe)
  size, known = experiment.recipe.batch_size, len(experiment.split.fixed)
  if size > known:  # the base model is trained on the fixed set alone
    raise UserError(
      f"training.batch_size {size} exceeds the {known} records of split.fixed"
    )
  if experiment.config.perf.chunk_models < 1:
    raise UserError(
      "perf.chunk_models must be at least 1, "
      f"got {experiment.config.perf.chunk_models}"
    )


def run(experiment: Experiment) -> None:
  """Leaves `base.npz` and the complete stores `released/` and `shadow/`."""
  train = recipe.make_train(experiment.model, experiment.recipe)
  many = ensemble.make_ensemble(train, experiment.threat)
  fixed = experiment.records("fixed")
  base_path = experiment.workdir / "base.npz"
  if not base_path.exists():
    base = ensemble.train_base(train, experiment.key, fixed, experiment.hparams)
    files.write_arrays(base_path, params=base)
  for part, name in STORES.items():
    _fill(experiment, many, part, name)


def _fill(
  experiment: Experiment, many: ensemble.Ensemble, part: str, name: str
) -> None:
  """Trains what is missing of one store."""
  config, directory = experiment.config, experiment.workdir / name
  ids, targets = getattr(experiment.split, part), experiment.records(part)
  manifest = store.create(
    directory,
    rows=len(ids),
    params=experiment.model.num_params,
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
  block = min(
    _block(experiment, many, directory, targets), manifest["chunk_rows"]
  )
  fixed, total = experiment.records("fixed"), len(ids)
  done = total - sum(end - start for _, start, end in missing)
  with tqdm(total=total, initial=done, desc=name, unit="model") as bar:
    for chunk, start, end in missing:
      parts = []
      for rows in ensemble.train_blocks(
        many,
        experiment.key,
        fixed,
        type(targets)(*(t[start:end] for t in targets)),
        ids[start:end],
        experiment.hparams,
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


def _block(experiment, many, directory, targets) -> int:
  """Models trained at once, kept beside the store so that a resumed run has
  the same bits even if the memory budget was changed in between."""
  path = directory / "block.json"
  if not path.exists():
    size = ensemble.block_size(
      many,
      experiment.key,
      experiment.records("fixed"),
      targets,
      experiment.hparams,
      experiment.config.perf.block_mib << 20,
    )
    files.write_json(path, size)
  return files.read_json(path)
