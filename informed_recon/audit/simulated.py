"""Each record of a training set, looked for by simulating the training.

A search that explains the release is not believed at once: another begins near
its answer, every feature moved by a tenth of its scale. What the training
does not tell stays where it was moved to, so that a record is vouched for only
where the second search comes back to the first one's answer, and where the
training tells it from all others that are tried (`verdict`).
"""

import dataclasses
import threading
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from informed_recon.attacks import simulation
from informed_recon.audit import frame as frames
from informed_recon.audit import verdict
from informed_recon.audit.training import Training, floats
from informed_recon.types import Records

SEARCH = simulation.Search(steps=40, converged=2e-5)
TRIES = 3  # searches from different starts until one explains the release
AGREE = 0.012  # rms difference of the two answers, in scales of the features
SPARE = 3  # parameters beyond the unknowns, to check an answer against
AGREE_MOST = 0.04  # of one feature; it was moved by `frames.NUDGE`
MEMORY = 2e9  # bytes that searches side by side may take
BATCH = 8  # of them, at most
# Few side by side where time is short: answers come early, and some come to
# their end also where they take longer than planned.
ROUNDS, LEAST = 16, 2


class Found(NamedTuple):
  """What was found of one record, in its own units."""

  x: np.ndarray  # (*shape)
  y: np.ndarray  # (*response), or None where no label was sought
  residual: float  # share of the record's influence that stays unexplained
  # Root mean square difference of the two searches' answers, in scales of the
  # features; NaN where there was no second search.
  error: float
  confident: bool  # vouched for
  ended: bool = True  # False: time cut the search short
  told: bool = True  # False: with another label, x explains the release as well


def search(
  training: Training, frame, x, y, chosen, distance, fits: int, deadline: float
) -> Iterator[tuple[int, Found]]:
  """Yields (record, Found) for the chosen records until the deadline.

  Args:
    training: one that can be traced.
    frame: of the records.
    x: all records.
    y: all labels.
    chosen: (M,) records to look for, in this order.
    distance: (M,) of `influence`.
    fits: records that are expected to be found in time.
    deadline: of `time.monotonic`; what is under way is then yielded as it
      stands.
  """
  fixed = floats(x, y)
  starts = frames.Starts(frame, frame.pack(x, y), y, 0)
  plan = _Plan(chosen, starts)
  slots = (TRIES + 1) * len(chosen)
  releases = simulation.Release(
    np.broadcast_to(training.theta, (slots, len(training.theta))),
    _Rows(lambda k: _away(training.theta, distance[plan.at(k)])),
    _Rows(lambda k: np.int32(chosen[plan.at(k)])),
  )
  batch = _batch(training, frame, fixed, starts(int(chosen[0]), 0))
  answers = simulation.reconstruct(
    training.simulate,
    fixed,
    releases,
    plan.candidates,
    dataclasses.replace(SEARCH, bounds=frame.bounds),
    batch=min(batch, len(chosen), max(fits // ROUNDS, LEAST)),
    until=deadline,
  )
  judge = verdict.make(training, frame, fixed, deadline)
  for k, answer in answers:
    settled = plan.settle(k, answer)
    if settled is not None:
      at = plan.at(k)
      found = _found(frame, *settled)
      unknowns = len(frame.center)
      if len(training.theta) < unknowns + SPARE:
        found = found._replace(confident=False)
      if found.confident:
        told = judge(settled[0], chosen[at], distance[at])
        found = found._replace(confident=False, ended=told is not None)
        if told is not None:
          found = found._replace(confident=told.record, told=told.label)
      yield int(chosen[at]), found
    if plan.over():
      break
  for at, answer in plan.unsettled():
    yield int(chosen[at]), _found(frame, answer, None)._replace(ended=False)


class _Plan:
  """Which record a search that begins next is of, and where it begins."""

  def __init__(self, chosen: np.ndarray, starts: frames.Starts):
    self.chosen, self.starts = chosen, starts
    self.lock = threading.RLock()
    self.slots: dict[int, tuple[int, int]] = {}  # slot -> record, try
    self.tries = np.zeros(len(chosen), int)  # begun
    self.ended = np.zeros(len(chosen), int)
    self.first: dict[int, simulation.Answer] = {}  # explained, to be checked
    self.best: dict[int, simulation.Answer] = {}
    self.checking: set[int] = set()
    self.settled: set[int] = set()

  def at(self, k: int) -> int:
    """Position in `chosen` of what slot k searches for."""
    return self.slots[k][0]

  def _next(self) -> tuple[int, int] | None:
    """(record, try); try -1 checks an answer. None: others have to end."""
    for at in self.first:
      if at not in self.checking and at not in self.settled:
        self.checking.add(at)
        return at, -1
    for at in range(len(self.chosen)):
      # One record after the other, each until it is settled, as time may end.
      idle = self.tries[at] == self.ended[at] < TRIES
      if idle and at not in self.settled and at not in self.first:
        self.tries[at] += 1
        return at, int(self.tries[at]) - 1
    return None

  def candidates(self, k: int):
    with self.lock:
      task = self._next()
      if task is None:
        return None
      self.slots[k] = at, turn = task
    if turn >= 0:
      return self.starts(int(self.chosen[at]), turn)
    answer = self.first[at]
    return self.starts.near(answer.x, answer.y)

  def settle(self, k: int, answer):
    """(best answer, its check or None) where that ends a record's search."""
    with self.lock:
      at, turn = self.slots[k]
      if at in self.settled:
        return None
      if turn == -1:
        if not answer.ended:
          return None
        self.settled.add(at)
        return self.first[at], answer
      best = self.best.get(at)
      if best is None or answer.residual < best.residual:
        self.best[at] = answer
      if not answer.ended:
        return None
      self.ended[at] += 1
      if answer.explained:
        self.first.setdefault(at, answer)
      if at not in self.first and self.ended[at] == TRIES:
        self.settled.add(at)
        return self.best[at], None
      return None

  def unsettled(self):
    """(position, best answer) of records whose search was not ended."""
    with self.lock:
      return [i for i in self.best.items() if i[0] not in self.settled]

  def over(self) -> bool:
    return len(self.settled) == len(self.chosen)


class _Rows:
  """Rows made when they are asked for."""

  def __init__(self, make):
    self.make = make

  def __getitem__(self, k: int):
    return self.make(k)


def _away(theta: np.ndarray, distance: float) -> np.ndarray:
  """Some vector at this distance, which is all that counts of a base."""
  row = theta.copy()
  row[np.argmin(np.abs(theta))] += distance
  return row


def _batch(training: Training, frame, fixed, start) -> int:
  """Searches that fit into memory side by side."""
  u, labels = start

  def kept(u):
    def end(u):
      return training.simulate(fixed, Records(u, labels[0]), np.int32(0))

    return jax.vjp(end, u)[1]

  shapes = jax.eval_shape(kept, u[0])
  size = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(shapes))
  if size > 2 * MEMORY:
    raise MemoryError(
      f"its derivative takes {size / 1e9:.1f} GB for one record; wrap the step "
      "in jax.checkpoint"
    )
  return int(np.clip(MEMORY // max(size, 1), 1, BATCH))


def _found(frame, first, check) -> Found:
  x, y = frame.unpack(first.x.astype(np.float64), first.y)
  error, sure = np.nan, False
  if check is not None:
    difference = np.abs(first.x - check.x)
    error = float(np.sqrt(np.mean(difference**2)))
    # That the check comes back is enough: the first explains the release.
    sure = error <= AGREE and difference.max() <= AGREE_MOST
  return Found(np.asarray(x), np.asarray(y), first.residual, error, bool(sure))
