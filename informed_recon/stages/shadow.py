"""Trains the shadow models and the released models."""

import pathlib
from collections.abc import Iterator, Set
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

import informed_recon
from informed_recon import registry, splits, tree
from informed_recon.evaluation import metrics
from informed_recon.experiment import STORES, Experiment, identity
from informed_recon.storage import files, repair, store
from informed_recon.storage.fill import fill
from informed_recon.training import ensemble, loop, recipe, release
from informed_recon.types import Records, UserError

# What decides the rows of a store, beside the data: a change elsewhere in the
# config, such as in a reconstructor, leaves the shadow models usable.
DECISIVE = ("seed", "data", "split", "threat", "model", "training")
PREFIX = "split.shadow"  # more shadow models extend fewer


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
  if jax.config.jax_enable_x64:
    raise UserError(
      "jax_enable_x64 is on, and models are trained in float32; unset "
      "JAX_ENABLE_X64"
    )
  experiment.privacy()
  _training(experiment)
  if experiment.misled:
    _training(experiment.truth())
  if "release" in experiment.config:
    release.visible(experiment.model().layout, experiment.release().layers)
  config, split = experiment.config, experiment.split
  if "reconstructor" in config.stages and not len(split.shadow):
    raise UserError("split.shadow must be at least 1 for a reconstructor")
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
  """Leaves the complete stores `released/` and `shadow/`, and the released
  models' accuracy in `released_model.json`."""
  prepare(experiment)
  for part in _parts(experiment):
    directory = experiment.store(part)
    bad = store.missing(directory, len(getattr(experiment.split, part)))
    _fill(experiment, part, {chunk.path for chunk in bad})
    repair.remove_leftovers(directory)
  files.kept_sealed(
    experiment.workdir / "released_model.json", lambda: _about(experiment)
  )


def work(experiment: Experiment) -> None:
  """Helps to complete the stores; what is done is not looked through again."""
  prepare(experiment)
  for part in _parts(experiment):
    _fill(experiment, part, suspects=set())


def decisive(config: ConfigDict, part: str = "shadow") -> dict[str, Any]:
  """What of a config decides the rows of a part's store, by dotted path."""
  groups = DECISIVE + (("truth",) if part == "targets" else ())
  flat = identity.flatten(config).items()
  return {k: v for k, v in flat if k.split(".")[0] in groups and k != PREFIX}


def prepare(experiment: Experiment) -> None:
  """Starts the stores, or checks that those there will do."""
  perf = experiment.config.perf
  for part in _parts(experiment):
    decided = decisive(experiment.config, part)
    store.create(
      experiment.store(part),
      store.Store(
        rows=max(
          len(getattr(experiment.split, part)),
          perf.store_models if part == "shadow" else 0,
        ),
        params=experiment.model().num_params,
        chunk_rows=perf.chunk_models,
        about=dict(
          models=STORES[part],
          config=identity.json_hash(decided),
          data=experiment.identity["data"],
        ),
        settings=decided,
        code=_code(experiment),
      ),
      experiment.force,
    )


def _parts(experiment: Experiment) -> list[str]:
  """Parts of the split to train a model for every record of."""
  return [p for p in STORES if len(getattr(experiment.split, p))]


def _training(experiment: Experiment) -> Training:
  train = experiment.train(products=_products(experiment))
  _, hparams = experiment.training()
  threat = ensemble.Threat(**experiment.config.threat)
  return Training(train, ensemble.make_ensemble(train, threat), hparams)


def _products(experiment: Experiment) -> str:
  """Those of the config, or shorter ones that are as good."""
  asked = experiment.training()[0].products
  shorter = experiment.config.perf.tensorfloat32 and asked == "float32"
  return "tensorfloat32" if shorter else asked


def _code(experiment: Experiment) -> dict[str, str]:
  """What decides the bits of a row beside config and data."""
  config = experiment.config
  mechanism = config.training.privacy.mechanism
  roots = (
    ensemble,
    loop,
    registry.find("models", config.model.name),
    registry.find("training.mechanisms", mechanism),
  )
  return dict(
    sources=identity.code_hash(roots),
    products=_products(experiment),
    informed_recon=informed_recon.__version__,
    jax=jax.__version__,
    jaxlib=jax.lib.__version__,
    device=jax.local_devices()[0].device_kind,
    **identity.numerics(),
  )


def _fill(
  experiment: Experiment, part: str, suspects: Set[pathlib.Path]
) -> None:
  """Trains what is missing of one store, beside whoever else does; a chunk
  among `suspects` is read before it counts as done."""
  name, directory = STORES[part], experiment.store(part)
  total = len(getattr(experiment.split, part))
  chunks = store.chunks(directory, total)
  if not suspects and all(chunk.marked() for chunk in chunks):
    return
  # The last chunk of a prefix holds models of a larger experiment.
  sizes = {**experiment.config.split, part: store.manifest(directory)["rows"]}
  ids = getattr(splits.split(*experiment.dataset.sizes, **sizes), part)
  trained = experiment.truth() if part == "targets" else experiment
  training = _training(trained)
  process, count = jax.process_index(), jax.process_count()
  with tqdm(total=chunks[-1].end, desc=name, unit="model") as bar:
    fill(
      chunks,
      lambda c: _trained(trained, training, part, ids[c.start : c.end]),
      suspects=suspects,
      first=len(chunks) * process // count,
      progress=lambda rows: bar.update(rows - bar.n),
      written=lambda i: experiment.log(
        stage="shadow", store=name, chunk=i, of=len(chunks), process=process
      ),
    )


def _trained(
  experiment: Experiment, training: Training, part: str, ids: np.ndarray
) -> Iterator[np.ndarray]:
  """Blocks (M, P) of the models of the records `ids`, in order."""
  targets = Records(*(a[ids] for a in experiment.dataset.records))
  fixed = experiment.records("fixed")
  block = _block(experiment, training, experiment.store(part), targets)
  for rows in ensemble.train_blocks(
    training.ensemble,
    experiment.key,
    fixed,
    targets,
    ids,
    training.hparams,
    block,
  ):
    diverged = int((~np.isfinite(rows)).any(1).sum())
    if diverged:
      raise UserError(
        f"{diverged} of {len(rows)} {STORES[part]} models diverged (parameters "
        "that are not finite); lower training.learning_rate"
      )
    yield rows


def _block(
  experiment: Experiment,
  training: Training,
  directory: pathlib.Path,
  targets: Records,
) -> int:
  """Models trained at once, kept beside the store: whoever trains a chunk,
  whenever and under whatever memory budget, ends with the same bits."""
  path = directory / "block.json"
  if not path.exists():
    cut = store.manifest(directory)["chunk_rows"]
    full = (np.broadcast_to(t[:1], (cut, *t.shape[1:])) for t in targets)
    size = ensemble.block_size(
      training.ensemble,
      experiment.key,
      experiment.records("fixed"),
      Records(*full),  # whichever chunk is first, be it a short one
      training.hparams,
      experiment.config.perf.block_mib << 20,
    )
    files.write_new_sealed(path, dict(models=min(size, cut), of=directory.name))
  found = files.read_sealed(path)
  if found.get("of") != directory.name:
    raise files.Damaged(path, "it is not of this store")
  return found["models"]


def _about(experiment: Experiment) -> dict:
  """Accuracy of the released models on records nobody trained on, where there
  are any, and on the fixed set; and what the report says of them."""
  model, threat = experiment.model(), experiment.config.threat
  like = jax.eval_shape(model.init, experiment.key)
  released = experiment.rows("targets", whole=True).all()

  @jax.jit
  def accuracies(rows, x, y):
    def one(row):
      logits = model.apply(tree.unflatten(row, like), x)
      return jnp.mean(jnp.argmax(logits, 1) == y)

    return jax.lax.map(one, rows, batch_size=32)

  about = {}
  for name, part in (("test", "accuracy"), ("train", "fixed")):
    x, y = map(jnp.asarray, experiment.truth().records(part))
    mean = interval = None
    if len(y):
      each = np.asarray(accuracies(released, x, y), float)
      mean, interval = metrics.mean_ci95(each)
    about[f"{name}_accuracy_mean"] = mean
    about[f"{name}_accuracy_mean_ci95"] = interval and list(interval)
  knows = ["training_algorithm", *["initial_weights"] * threat.shared_init]
  return about | dict(
    model=experiment.config.model.name,
    parameters=model.num_params,
    models=len(released),
    adversary_knows=knows,
    privacy=experiment.privacy(),
  )
