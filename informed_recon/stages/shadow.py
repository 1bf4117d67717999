"""Trains the base model, the shadow models and the released models."""

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon import files, metrics, stages, store, tree
from informed_recon.stages import Experiment
from informed_recon.training import ensemble, recipe

# What decides the rows of a store, beside the data: a change elsewhere in the
# config, such as in a reconstructor, leaves the shadow models usable.
DECISIVE = ("seed", "data", "split", "threat", "model", "training")
# Part of the split -> its store: a shadow model for every shadow target, a
# released model for every evaluation target.
STORES = {"targets": "released", "shadow": "shadow"}


def check(experiment: Experiment) -> None:
  recipe.make_train(experiment.model, experiment.recipe)


def run(experiment: Experiment) -> None:
  """Leaves `base.npz`, the complete stores `released/` and `shadow/`, and the
  released models' accuracy in `released_model.json`."""
  train = recipe.make_train(experiment.model, experiment.recipe)
  many = ensemble.make_ensemble(train, experiment.threat)
  fixed = experiment.records("fixed")
  base_path = experiment.workdir / "base.npz"
  if not base_path.exists():
    base = ensemble.train_base(train, experiment.key, fixed, experiment.hparams)
    files.write_arrays(base_path, params=base)
  for part, name in STORES.items():
    _fill(experiment, many, part, name)
  accuracy_path = experiment.workdir / "released_model.json"
  if not accuracy_path.exists():
    files.write_json(accuracy_path, _accuracy(experiment))


def _fill(
  experiment: Experiment, many: ensemble.Ensemble, part: str, name: str
) -> None:
  """Trains what is missing of one store."""
  config, directory = experiment.config, experiment.workdir / name
  ids, targets = getattr(experiment.split, part), experiment.records(part)
  store.create(
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
  block = _block(experiment, many, directory, targets)
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
      store.write_chunk(directory, chunk, np.concatenate(parts))
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
  return min(files.read_json(path), experiment.config.perf.chunk_models)


def _accuracy(experiment: Experiment) -> dict:
  """Accuracy of the released models on records nobody trained on."""
  x, y = map(jnp.asarray, experiment.records("accuracy"))
  like = jax.eval_shape(experiment.model.init, experiment.key)

  @jax.jit
  def accuracy(rows):
    def one(row):
      logits = experiment.model.apply(tree.unflatten(row, like), x)
      return jnp.mean(jnp.argmax(logits, 1) == y)

    return jax.lax.map(one, rows, batch_size=32)

  released = store.open_rows(experiment.workdir / "released").all()
  mean, interval = metrics.mean_ci95(np.asarray(accuracy(released), float))
  return dict(
    test_accuracy_mean=mean,
    test_accuracy_mean_ci95=list(interval),
    parameters=experiment.model.num_params,
    models=len(released),
    records=len(y),
  )
