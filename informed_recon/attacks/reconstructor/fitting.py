"""The general attack: a network trained on shadow models maps θ to z.

Balle, Cherubin, Hayes (2022): minimise over φ the mean over shadow targets of a
loss of φ(θ_i) and z_i (`step`), θ_i standardised by the shadow
models' mean and spread. Early stopping looks at held-out shadow models only,
and at the loss without the discriminator's term, for that one moves with the
discriminator; the evaluation targets play no part here.
"""

import pathlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from informed_recon import allocator, compiler, prng
from informed_recon.attacks.reconstructor import step
from informed_recon.attacks.reconstructor.standardisation import (
  Standard,
  standardise,
)
from informed_recon.attacks.reconstructor.step import Fit, Learner, Perceptual
from informed_recon.storage import checkpoints
from informed_recon.storage.store import Rows
from informed_recon.training import mesh, optimizers
from informed_recon.types import UserError

# Of an accelerator's free memory: what shadow models may take there; for a
# moment they are there twice.
RESIDENT = 0.4


class State(NamedTuple):
  """All that changes while fitting; a checkpoint holds just this."""

  params: Any
  opt_state: Any
  best: Any  # the answering parameters of the best epoch so far
  best_loss: jax.Array  # held-out loss of `best`; inf without a holdout
  since_best: jax.Array  # epochs
  epoch: jax.Array  # epochs done
  ema: Any = None
  critic: Any = None


def check(spec: Fit, shadows: int) -> None:
  """Refuses settings that cannot be trained on `shadows` shadow models."""
  _optimizer(spec, 1)
  step.check(spec)
  kept = _holdout(spec, shadows)
  if not 0 <= kept < shadows or not 0 < spec.batch_size <= shadows - kept:
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


class Shadows(NamedTuple):
  """The shadow models of a fit, and how they are shown to the network."""

  rows: Rows  # N models' parameters, by memory map
  records: np.ndarray  # (N, *shape) their shadow targets
  train: np.ndarray  # rows to learn from
  holdout: np.ndarray  # rows for early stopping
  standard: Standard
  perceptual: Perceptual | None
  devices: jax.sharding.Mesh
  resident: tuple | None  # rows and records on the accelerator, if they fit


def fit(
  network: nn.Module,
  spec: Fit,
  rows: Rows,
  records: np.ndarray,
  key: jax.Array,
  directory: pathlib.Path,
  *,
  perceptual: Perceptual | None = None,
  log: Callable[[dict], None] = lambda row: None,
  checkpoint_seconds: float = 60.0,
) -> Callable[[np.ndarray], np.ndarray]:
  """Trains `network` on shadow models; returns the attack θ (M, P) -> z.

  Interrupted and called again, it goes on from the last checkpoint and ends
  with the same network: batches and dropout depend on (key, epoch, step) only.

  Args:
    network: from `attacks.reconstructor.networks.build`.
    spec: how to train it.
    rows: N shadow models' parameters, by memory map.
    records: (N, *shape) their shadow targets.
    key: typed key of this fit.
    directory: for checkpoints.
    perceptual: the distance behind `spec.perceptual_weight`
      (`evaluation.perceptual`).
    log: called after every epoch with its losses.
    checkpoint_seconds: how often at most to save the state.

  Raises:
    UserError: the losses stopped being finite, or the settings make no sense.
  """
  allocator.keep_freed_memory()
  check(spec, len(rows))
  if spec.perceptual_weight and perceptual is None:
    raise UserError("perceptual_weight above 0 needs a perceptual distance")
  shadows = _shadows(spec, rows, records, key, perceptual)
  steps = len(shadows.train) // spec.batch_size
  optimizer = _optimizer(spec, steps * spec.epochs)
  learn = step.make(network, spec, optimizer, rows.num_params, key)
  # One program to compile, where there would be several for each layer.
  start = jax.jit(partial(_start, learn), compiler_options=compiler.options())
  directory.mkdir(parents=True, exist_ok=True)
  with checkpoints.manager(directory) as manager:
    state = State(**checkpoints.restore(manager, start))
    state = jax.device_put(state, mesh.whole(shadows.devices))
    saved = time.monotonic()
    while _goes_on(spec, state):
      learner, train_loss = run_epoch(learn, spec, shadows, key, state)
      holdout_loss = _holdout_loss(learn, shadows, learner)
      state = update_best(state, learner, holdout_loss)
      epoch = int(state.epoch)
      row = dict(epoch=epoch, train_loss=train_loss, held_loss=holdout_loss)
      _refuse_not_finite(row)
      log(row)
      if time.monotonic() - saved > checkpoint_seconds:
        checkpoints.save(manager, epoch, state._asdict())
        saved = time.monotonic()
    if manager.latest_step() != int(state.epoch):
      checkpoints.save(manager, int(state.epoch), state._asdict())

  def attack(theta: np.ndarray, block: int = 500) -> np.ndarray:
    parts = [
      np.asarray(
        learn.predict(state.best, shadows.standard, theta[at : at + block])
      )
      for at in range(0, len(theta), block)
    ]
    return np.concatenate(parts)

  return attack


def run_epoch(
  learn: step.Steps, spec: Fit, shadows: Shadows, key: jax.Array, state: State
) -> tuple[Learner, float]:
  """All steps of the epoch that follows `state`, whose buffers they take over
  (donate): the learner after it, and the mean training loss."""
  epoch = int(state.epoch)
  shuffle = np.random.default_rng(_seed(key, f"epoch {epoch}"))
  steps = len(shadows.train) // spec.batch_size
  ids = shuffle.permutation(shadows.train)[: steps * spec.batch_size]
  learner = Learner(*(getattr(state, name) for name in Learner._fields))
  given = shadows.standard, shadows.perceptual
  if shadows.resident:
    order = ids.astype(np.int32).reshape(steps, spec.batch_size)
    order = jax.device_put(order, mesh.split(shadows.devices, axis=1))
    learner, values = learn.epoch(
      learner, *given, *shadows.resident, order, epoch * steps
    )
  else:
    values = []
    batches = _batches(shadows.rows, shadows.records, ids, spec.batch_size)
    for i, pair in enumerate(batches):
      pair = jax.device_put(pair, mesh.split(shadows.devices))
      learner, value = learn.step(learner, *given, *pair, epoch * steps + i)
      values.append(value)
  return learner, float(np.mean(jax.device_get(values)))


def update_best(
  state: State, learner: Learner, holdout_loss: float | None
) -> State:
  """The state after an epoch; without a holdout the last network is best."""
  better = holdout_loss is None or holdout_loss < float(state.best_loss)
  # A copy, for the next step takes over (donates) the learner's buffers.
  best = jax.tree.map(jnp.copy, learner.answering) if better else state.best
  best_loss = state.best_loss
  if better and holdout_loss is not None:
    best_loss = holdout_loss
  return State(
    **learner._asdict(),
    best=best,
    best_loss=jnp.float32(best_loss),
    since_best=jnp.int32(0 if better else int(state.since_best) + 1),
    epoch=jnp.int32(int(state.epoch) + 1),
  )


def _shadows(
  spec: Fit, rows: Rows, records: np.ndarray, key: jax.Array, perceptual
) -> Shadows:
  """Draws the holdout, standardises by the rest, and lays out on devices what
  every step needs."""
  count = _holdout(spec, len(rows))
  order = np.random.default_rng(_seed(key, "holdout")).permutation(len(rows))
  holdout, train = np.sort(order[:count]), np.sort(order[count:])
  # The network on every device, its batches divided among them.
  devices = mesh.local(spec.batch_size)
  standard, perceptual = jax.device_put(
    (Standard(*standardise(rows, train)), perceptual), mesh.whole(devices)
  )
  return Shadows(
    rows,
    records,
    train,
    holdout,
    standard,
    perceptual,
    devices,
    resident=_resident(rows, records, devices),
  )


def _start(learn: step.Steps) -> dict:
  learner = learn.start()
  return State(
    **learner._asdict(),
    best=jax.tree.map(jnp.zeros_like, learner.params),
    best_loss=jnp.float32(jnp.inf),
    since_best=jnp.int32(0),
    epoch=jnp.int32(0),
  )._asdict()


def _goes_on(spec: Fit, state: State) -> bool:
  stopped = spec.patience and int(state.since_best) >= spec.patience
  return int(state.epoch) < spec.epochs and not stopped


def _holdout_loss(
  learn: step.Steps, shadows: Shadows, learner: Learner, block: int = 500
) -> float | None:
  """Mean over the shadow models kept apart; None without any."""
  ids, total = shadows.holdout, 0.0
  for at in range(0, len(ids), block):
    take = ids[at : at + block]
    pair = shadows.rows.gather(take), shadows.records[take]
    given = learner.answering, shadows.standard, shadows.perceptual
    total += float(learn.summed_loss(*given, *pair))
  return total / len(ids) if len(ids) else None


def _refuse_not_finite(row: dict) -> None:
  if not np.isfinite([row["train_loss"], row["held_loss"] or 0.0]).all():
    raise UserError(
      f"the reconstructor's loss is not finite after epoch {row['epoch']}; "
      "lower its learning_rate"
    )


def _resident(rows: Rows, records: np.ndarray, devices: jax.sharding.Mesh):
  """θ (N, P) and z (N, *shape) on every accelerator, or None: on a CPU, and
  where they are too large, batches are read from the memory map."""
  size = 4 * len(rows) * rows.num_params + records.nbytes
  for device in devices.devices.flat:
    stats = device.memory_stats() or {}
    free = stats.get("bytes_limit", 0) - stats.get("bytes_in_use", 0)
    if device.platform == "cpu" or size > RESIDENT * free:
      return None
  parts = jax.device_put((rows.chunks, records), mesh.whole(devices))
  return jnp.concatenate(parts[0]), parts[1]


def _holdout(spec: Fit, shadows: int) -> int:
  return int(round(spec.holdout * shadows))


def _optimizer(spec: Fit, steps: int) -> optax.GradientTransformation:
  return optimizers.make(
    spec.optimizer,
    spec.learning_rate,
    spec.optimizer_options,
    schedule=spec.schedule,
    steps=steps,
  )


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
