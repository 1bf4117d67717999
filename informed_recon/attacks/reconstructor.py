"""The general attack: a network trained on shadow models maps θ to z.

Balle, Cherubin, Hayes (2022): minimise over φ the mean over shadow targets of
MAE(φ(θ_i), z_i) + MSE(φ(θ_i), z_i), θ_i standardised by the shadow models'
mean and spread. Early stopping looks at held-out shadow models only; the
evaluation targets play no part here.
"""

import dataclasses
import errno
import math
import os
import pathlib
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from informed_recon import mesh, optimizers, prng
from informed_recon.standard import Standard, standardise
from informed_recon.store import Rows
from informed_recon.types import UserError


@dataclasses.dataclass(frozen=True)
class Fit:
  """How a reconstructor network is trained."""

  optimizer: str = "rmsprop"
  optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  learning_rate: float = 3e-4
  schedule: str = "constant"
  epochs: int = 200
  batch_size: int = 32
  mae_weight: float = 1.0
  mse_weight: float = 1.0
  # Share of the shadow models kept for early stopping; 0 trains on all of them
  # for all epochs and takes the last network.
  holdout: float = 0.05
  patience: int = 20  # epochs without a better held-out loss before the stop


class State(NamedTuple):
  """All that changes while fitting; a checkpoint holds just this."""

  params: Any
  opt_state: Any
  best: Any  # params at the best epoch so far
  best_loss: jax.Array  # held-out loss of `best`; inf without a holdout
  since_best: jax.Array  # epochs
  epoch: jax.Array  # epochs done


def check(spec: Fit, shadows: int) -> None:
  """Refuses settings that cannot be trained on `shadows` shadow models."""
  _optimizer(spec, 1)
  held = _held(spec, shadows)
  if not 0 <= held < shadows or not 0 < spec.batch_size <= shadows - held:
    raise UserError(
      f"holdout {spec.holdout} and batch_size {spec.batch_size} leave nothing "
      f"to train on or to hold out of {shadows} shadow models"
    )
  if spec.epochs < 1:
    raise UserError(f"epochs must be at least 1, got {spec.epochs}")
  if spec.patience < 0:
    raise UserError(
      f"patience must be 0 (never stop early) or more, got {spec.patience}"
    )


def fit(
  network: nn.Module,
  spec: Fit,
  rows: Rows,
  records: np.ndarray,
  key: jax.Array,
  directory: pathlib.Path,
  *,
  log: Callable[[dict], None] = lambda row: None,
  checkpoint_seconds: float = 60.0,
) -> Callable[[np.ndarray], np.ndarray]:
  """Trains `network` on shadow models; returns the attack θ (M, P) -> z.

  Interrupted and called again, it goes on from the last checkpoint and ends
  with the same network: batches and dropout depend on (key, epoch, step) only.

  Args:
    network: from `informed_recon.reconstructors.build`.
    spec: how to train it.
    rows: N shadow models' parameters, by memory map.
    records: (N, *shape) their shadow targets.
    key: typed key of this fit.
    directory: for checkpoints.
    log: called after every epoch with its losses.
    checkpoint_seconds: how often at most to save the state.

  Raises:
    UserError: the losses stopped being finite, or the settings make no sense.
  """
  check(spec, len(rows))
  held = _held(spec, len(rows))
  order = np.random.default_rng(_seed(key, "holdout")).permutation(len(rows))
  held_ids, train_ids = np.sort(order[:held]), np.sort(order[held:])
  standard = standardise(rows, train_ids)
  steps = len(train_ids) // spec.batch_size
  optimizer = _optimizer(spec, steps * spec.epochs)
  dropout_key = prng.stream(key, "dropout")

  def losses(prediction, truth):
    error = prediction - truth
    mae = jnp.mean(jnp.abs(error), axis=tuple(range(1, error.ndim)))
    mse = jnp.mean(jnp.square(error), axis=tuple(range(1, error.ndim)))
    return spec.mae_weight * mae + spec.mse_weight * mse

  def start():
    params = network.init(
      prng.stream(key, "init"), jnp.zeros((1, rows.num_params)), train=False
    )
    return State(
      params=params,
      opt_state=optimizer.init(params),
      best=jax.tree.map(jnp.zeros_like, params),
      best_loss=jnp.float32(jnp.inf),
      since_best=jnp.int32(0),
      epoch=jnp.int32(0),
    )

  def step(carry, standard, batch, truth, count):
    params, opt_state = carry

    def loss(params):
      rngs = {"dropout": jax.random.fold_in(dropout_key, count)}
      prediction = network.apply(params, standard(batch), train=True, rngs=rngs)
      return jnp.mean(losses(prediction, truth))

    value, grads = jax.value_and_grad(loss)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), value

  step = jax.jit(step, donate_argnums=0)
  predict = jax.jit(
    lambda params, standard, batch: network.apply(
      params, standard(batch), train=False
    )
  )

  @jax.jit
  def summed_loss(params, standard, batch, truth):
    prediction = network.apply(params, standard(batch), train=False)
    return jnp.sum(losses(prediction, truth))

  # The network on every device, its batches divided among them.
  devices = mesh.local(spec.batch_size)
  standard = jax.device_put(Standard(*standard), mesh.whole(devices))
  held_records = records[held_ids]
  directory.mkdir(parents=True, exist_ok=True)

  def evaluate(params) -> float:
    if not held:
      return math.inf
    total = 0.0
    for at in range(0, held, 500):
      batch = rows.gather(held_ids[at : at + 500])
      total += float(
        summed_loss(params, standard, batch, held_records[at : at + 500])
      )
    return total / held

  with ocp.CheckpointManager(directory, options=_checkpoints()) as manager:
    state = jax.device_put(_restore(manager, start), mesh.whole(devices))
    saved = time.monotonic()
    while int(state.epoch) < spec.epochs:
      if spec.patience and int(state.since_best) >= spec.patience:
        break
      epoch = int(state.epoch)
      shuffle = np.random.default_rng(_seed(key, f"epoch {epoch}"))
      ids = shuffle.permutation(train_ids)[: steps * spec.batch_size]
      carry, values = state[:2], []
      batches = _batches(rows, records, ids, spec.batch_size)
      for i, pair in enumerate(batches):
        batch, truth = jax.device_put(pair, mesh.split(devices))
        carry, value = step(carry, standard, batch, truth, epoch * steps + i)
        values.append(value)
      train_loss = float(np.mean(jax.device_get(values)))
      loss = evaluate(carry[0])
      if not np.isfinite([train_loss, loss if held else 0.0]).all():
        raise UserError(
          f"the reconstructor's loss is not finite after epoch {epoch + 1}; "
          "lower its learning_rate"
        )
      better = not held or loss < float(state.best_loss)
      # A copy, for the next step takes over (donates) the buffers of carry.
      best = jax.tree.map(jnp.copy, carry[0]) if better else state.best
      state = State(
        *carry,
        best=best,
        best_loss=jnp.float32(loss if better else state.best_loss),
        since_best=jnp.int32(0 if better else int(state.since_best) + 1),
        epoch=jnp.int32(epoch + 1),
      )
      held_loss = loss if held else None
      log(dict(epoch=epoch + 1, train_loss=train_loss, held_loss=held_loss))
      if time.monotonic() - saved > checkpoint_seconds:
        _save(manager, state)
        saved = time.monotonic()
    if manager.latest_step() != int(state.epoch):
      _save(manager, state)
  best = state.best

  def attack(theta: np.ndarray, block: int = 500) -> np.ndarray:
    parts = [
      np.asarray(predict(best, standard, theta[at : at + block]))
      for at in range(0, len(theta), block)
    ]
    return np.concatenate(parts)

  return attack


def _held(spec: Fit, shadows: int) -> int:
  return int(round(spec.holdout * shadows))


def _optimizer(spec: Fit, steps: int) -> optax.GradientTransformation:
  return optimizers.make(
    spec.optimizer,
    spec.learning_rate,
    spec.optimizer_options,
    schedule=spec.schedule,
    steps=steps,
  )


def _checkpoints() -> ocp.CheckpointManagerOptions:
  """The last state alone, and no waiting for processes that fit nothing."""
  me = jax.process_index()
  return ocp.CheckpointManagerOptions(
    max_to_keep=1,
    create=False,
    multiprocessing_options=ocp.options.MultiprocessingOptions(
      primary_host=me,
      active_processes={me},
      barrier_sync_key_prefix=f"process{me}",
    ),
  )


def _save(manager: ocp.CheckpointManager, state: State) -> None:
  try:
    # As host arrays: of several processes this one alone has the state.
    args = ocp.args.StandardSave(jax.device_get(state._asdict()))
    manager.save(int(state.epoch), args=args)
    manager.wait_until_finished()
  except ValueError as error:  # how a full disk comes out of tensorstore
    if not re.search("RESOURCE_EXHAUSTED|No space left", str(error)):
      raise
    raise OSError(
      errno.ENOSPC, os.strerror(errno.ENOSPC), str(manager.directory)
    ) from error


def _restore(manager: ocp.CheckpointManager, start: Callable) -> State:
  if manager.latest_step() is None:
    return start()
  abstract = jax.tree.map(
    lambda leaf: np.empty(leaf.shape, leaf.dtype), jax.eval_shape(start)
  )._asdict()
  restored = manager.restore(
    manager.latest_step(), args=ocp.args.StandardRestore(abstract)
  )
  return State(**restored)


def _seed(key: jax.Array, name: str) -> int:
  return int(jax.random.bits(prng.stream(key, name)))


def _batches(
  rows: Rows, records: np.ndarray, ids: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Batches in the order of `ids`, read ahead of the device by a thread."""
  ahead: queue.Queue = queue.Queue(maxsize=4)

  def read():
    try:
      for start in range(0, len(ids), size):
        take = ids[start : start + size]
        ahead.put((rows.gather(take), records[take]))
      ahead.put(None)
    except Exception as error:  # raised again in the consumer
      ahead.put(error)

  threading.Thread(target=read, daemon=True).start()
  while (item := ahead.get()) is not None:
    if isinstance(item, Exception):
      raise item
    yield item
