"""Reads the record behind each released model off where its training ended."""

import contextlib
import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from tqdm import tqdm

from informed_recon import tree
from informed_recon.attacks import stationarity as attack
from informed_recon.experiment import Experiment
from informed_recon.storage import answers, files
from informed_recon.training import recipe, stationary
from informed_recon.types import Answers, Records, UserError


def check(experiment: Experiment) -> None:
  config = experiment.config
  if not config.stationarity:
    raise UserError(
      "stages include 'stationarity', config.stationarity is empty"
    )
  if "shadow" not in config.stages[: config.stages.index("stationarity")]:
    raise UserError(
      "the stage 'stationarity' attacks what 'shadow' trains; put 'shadow' "
      "before it"
    )
  if experiment.release().layers:
    raise UserError(
      "the stage 'stationarity' reads all parameters; it wants release.layers "
      "empty"
    )
  for name, spec in config.stationarity.items():
    if name in {*config.reconstructors, *config.simulations}:
      raise UserError(f"stationarity and another attack both have a {name!r}")
    if spec.targets < 0:
      raise UserError(
        f"stationarity.{name}.targets must be at least 0, got {spec.targets}"
      )
    for key in ("tolerance", "l2"):
      if not 0 <= spec[key] < math.inf:
        raise UserError(
          f"stationarity.{name}.{key} must be at least 0 and finite, got "
          f"{spec[key]}"
        )
    if (spec.tolerance > 0) != (spec.l2 > 0):
      raise UserError(
        f"stationarity.{name}: give tolerance and l2 both above 0, to train "
        "the models on to a stationary point, or both 0"
      )


def run(experiment: Experiment) -> None:
  """Leaves `attacks/NAME.npz` with the answer for the first targets of every
  entry of `stationarity`, and `stationarity/NAME/` with each of them."""
  for name in experiment.config.stationarity:
    if not answers.intact(experiment.workdir, name):
      found = _attack(experiment, name)
      answers.write(
        experiment.workdir, name, answers.Attack("stationarity", found)
      )


def _attack(experiment: Experiment, name: str) -> Answers:
  spec = experiment.config.stationarity[name]
  everyone = len(experiment.split.targets)
  count = min(spec.targets or everyone, everyone)
  directory = experiment.workdir / "stationarity" / name
  paths = [directory / f"target-{i:05d}.npz" for i in range(count)]
  one, done = _one(experiment, spec), []
  for i, path in enumerate(tqdm(paths, desc=name, unit="target")):
    with contextlib.suppress(FileNotFoundError, files.Damaged):
      done.append(files.read_arrays(path))
      continue
    done.append(one(i))
    files.write_arrays(path, **done[i])
    experiment.log(
      stage="stationarity",
      name=name,
      target=i,
      **{k: float(done[i][k]) for k in ("residual", "short", "seconds")},
    )
  return Answers(
    *(
      np.stack([row[key] for row in done])
      for key in ("x", "y", "identifiable", "residual", "error")
    )
  )


def _one(experiment: Experiment, spec):
  """`(i) -> arrays`, the attack on the released model of target i.

  `seconds` are those of the attack. `short` says how far the model is from a
  stationary point, which only who knows the target can tell: (n + 1) ‖∇L‖ over
  the norm of the target's own gradient.
  """
  model = experiment.model()
  like = jax.eval_shape(model.init, experiment.key)
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  rows = experiment.rows("targets").all()
  labels = np.arange(experiment.dataset.num_classes, dtype=np.int32)
  l2 = spec.l2 or experiment.config.training.l2
  blind = fixed.x.mean(0)  # the answer where nothing can be said

  def loss(params, x, y):
    return recipe.cross_entropy(model.apply(params, x[None]), y[None])[0]

  def one(i: int) -> dict[str, np.ndarray]:
    target = Records(targets.x[i], targets.y[i])
    params = tree.unflatten(jnp.asarray(rows[i]), like)
    if spec.tolerance:
      params, _ = stationary.minimise(
        loss,
        params,
        np.append(fixed.x, target.x[None], 0),
        np.append(fixed.y, target.y),
        l2=l2,
        tolerance=spec.tolerance,
      )
    params = jax.tree.map(np.asarray, params)
    start = time.perf_counter()
    found = attack.reconstruct(loss, params, *fixed, l2=l2, labels=labels)
    seconds = time.perf_counter() - start
    guess = np.where(np.isfinite(found.x), found.x, blind).clip(0, 1)
    return dict(
      x=guess.astype(np.float32),
      y=np.asarray(-1 if found.y is None else found.y, np.int32),
      identifiable=np.asarray(found.identifiable),
      residual=np.asarray(found.residual),
      error=np.sqrt(np.mean(np.square(found.error))),
      short=np.asarray(_short(loss, params, fixed, target, l2)),
      seconds=np.asarray(seconds),
    )

  return one


@functools.partial(jax.jit, static_argnums=0)
def _gradient(loss, params, x, y):
  def total(params):
    return jnp.sum(jax.vmap(loss, (None, 0, 0))(params, x, y))

  return ravel_pytree(jax.grad(total)(params))[0]


def _short(loss, params, fixed: Records, target: Records, l2: float) -> float:
  with jax.enable_x64(True):
    params = jax.tree.map(jnp.float64, params)
    own = _gradient(loss, params, np.float64(target.x)[None], target.y[None])
    known = _gradient(loss, params, np.float64(fixed.x), fixed.y)
    theta = ravel_pytree(params)[0]
    left = known + own + (len(fixed.y) + 1) * l2 * theta
    return float(jnp.linalg.norm(left) / jnp.linalg.norm(own))
