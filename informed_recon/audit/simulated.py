"""Each record of a training set, looked for by simulating the training.

A search that explains the release is not believed at once: another begins near
its answer, every feature moved by a tenth of its scale. What the training
does not tell stays where it was moved to, so that a record is vouched for only
where the second search comes back to the first one's answer. The label is not
searched for again: every other one is tried at the answer.
"""

import dataclasses
import functools
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from informed_recon.attacks import simulation
from informed_recon.attacks.identifiability import COLUMNS
from informed_recon.audit import frame as frames
from informed_recon.audit.training import BLOCK, Training, floats
from informed_recon.types import Records

SEARCH = simulation.Search(steps=40, converged=2e-5)
TRIES = 3  # searches from different starts until one explains the release
AGREE = 0.012  # rms difference of the two answers, in scales of the features
SPARE = 3  # parameters beyond the unknowns, to check an answer against
FAR = 0.05  # spreads by which no combination of features may be off
MARGIN = (
  3  # times the misfit of an answer that that of another record must have
)
# Where a change of features leaves less than this share of what another label
# changes, one is looked for in so many steps, until one gains too little.
SHARE, STEPS, SLOW = 0.5, 8, 0.9
AGREE_MOST = 0.04  # of one feature; it was moved by `frames.NUDGE`
JACOBIAN = 4e9  # bytes that it may take; nothing larger is vouched for
PART = 4096  # of its columns that are looked at in float64 at a time
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
  determined = _determined(training, frame, fixed, deadline)
  for k, answer in answers:
    settled = plan.settle(k, answer)
    if settled is not None:
      at = plan.at(k)
      found = _found(frame, *settled)
      unknowns = len(frame.center)
      if len(training.theta) < unknowns + SPARE:
        found = found._replace(confident=False)
      if found.confident:
        sure = determined(settled[0], chosen[at], distance[at])
        found = found._replace(confident=False, ended=sure is not None)
        if sure is not None:
          found = found._replace(confident=sure.record, told=sure.label)
      yield int(chosen[at]), found
    if plan.over():
      break
  for at, answer in plan.unsettled():
    yield int(chosen[at]), _found(frame, answer, None)._replace(ended=False)


class Verdict(NamedTuple):
  """On an answer that a second search came back to."""

  record: bool  # no other record is known to explain the release as well
  label: bool  # the same features with another label do not either


def _determined(training: Training, frame, fixed: Records, deadline: float):
  """(answer, record, distance) -> `Verdict`, or None where time ends before.

  The release tells a record from all near it by the least singular value of the
  training's Jacobian: the check by a second search may miss a combination of
  features that its move left alone. What is not near is tried: the sign of one
  feature, or of all, turned, and every other label. Where a change of features
  may make up for another label, the best such change is looked for."""

  @jax.jit
  def derivatives(fixed, u, label, index, directions):
    def end(u):
      return training.simulate(fixed, Records(u, label), index)

    end, forward = jax.linearize(end, u)
    return end, jax.vmap(forward)(directions)

  def jacobian(u, label, index):
    """(d, P), a few rows at a time, and what is left (P,)."""
    rows, basis = [], np.eye(len(u), dtype=np.float32)
    for start in range(0, len(u), COLUMNS):
      in_time()
      some = np.take(basis, range(start, start + COLUMNS), 0, mode="clip")
      end, part = derivatives(fixed, u, label, index, some)
      rows.append(np.asarray(part))
    return np.concatenate(rows)[: len(u)], np.asarray(end) - training.theta

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(None, 0, 0, None))
  def ends(fixed, u, label, index):
    return training.simulate(fixed, Records(u, label), index)

  def lefts(rows, labels, index) -> Iterator[np.ndarray]:
    """What each record leaves unexplained, (P,)."""
    for start in range(0, len(rows), BLOCK):
      in_time()
      at = np.arange(start, start + BLOCK).clip(max=len(rows) - 1)
      some = ends(fixed, rows[at], labels[at], index)
      yield from (np.asarray(some) - training.theta)[: len(rows) - start]

  def misses(rows, label, index) -> np.ndarray:
    labels = np.broadcast_to(label, (len(rows), *np.shape(label)))
    return np.array([np.linalg.norm(a) for a in lefts(rows, labels, index)])

  def in_time() -> None:
    if time.monotonic() > deadline:
      raise TimeoutError

  def explained(u, label, index, enough: float) -> bool:
    """Whether some record of this label does, by Gauss-Newton steps from u."""
    miss = np.inf
    for _ in range(STEPS):
      rows, left = jacobian(u, label, index)
      move = np.linalg.lstsq(_gram(rows), -(rows @ left), rcond=1e-12)[0]
      tried = u + move * 0.5 ** np.arange(BLOCK)[:, None]
      tried = tried.clip(*frame.limits).astype(np.float32)
      found = misses(tried, label, index)
      before, miss = min(miss, np.linalg.norm(left)), found.min()
      if miss <= enough:
        return True
      if not miss <= SLOW * before:
        return False
      u = tried[found.argmin()]
    return False

  def verdict(answer, index, distance) -> Verdict:
    u, label = answer.x, np.asarray(answer.y)
    if 4 * len(u) * len(training.theta) > JACOBIAN:
      return Verdict(False, False)
    rows, _ = jacobian(u, label, index)
    gram = _gram(rows)
    least, most = _extremes(gram)
    noise = max(answer.residual, 1e-5) * distance + 1e-6 * most
    enough = MARGIN * noise
    if not FAR * least > noise:
      return Verdict(False, False)
    turned = _turned(frame, u)
    if (misses(turned, label, index) <= enough).any():
      return Verdict(False, False)
    others = frame.others(label)
    # The last of them has all signs turned, if any.
    for start in turned[-1:]:
      far = np.broadcast_to(start, (len(others), len(u)))
      if any(np.linalg.norm(a) <= enough for a in lefts(far, others, index)):
        return Verdict(False, False)
    told = True
    here = np.broadcast_to(u, (len(others), len(u)))
    for other, left in zip(others, lefts(here, others, index)):
      if np.linalg.norm(left) <= enough:
        told = False
      elif _share(rows, gram, left) < SHARE and explained(
        u, other, index, enough
      ):
        return Verdict(False, False)
    return Verdict(True, told)

  def determined(answer, index, distance) -> Verdict | None:
    try:
      return verdict(answer, np.int32(index), distance)
    except TimeoutError:
      return None

  return determined


def _gram(rows: np.ndarray) -> np.ndarray:
  """Inner products (d, d) of the rows of a wide matrix, in float64."""
  gram = np.zeros((len(rows), len(rows)))
  for start in range(0, rows.shape[1], PART):
    part = rows[:, start : start + PART].astype(np.float64)
    gram += part @ part.T
  return gram


def _extremes(gram: np.ndarray) -> tuple[float, float]:
  """The least and the largest singular value of what has these inner products,
  to 1e-7 of the largest."""
  squares = np.linalg.eigvalsh(gram)
  return float(np.sqrt(max(squares[0], 0))), float(np.sqrt(squares[-1]))


def _share(rows: np.ndarray, gram: np.ndarray, left: np.ndarray) -> float:
  """Share of a vector that no combination of rows makes up for."""
  along = (rows @ left).astype(np.float64)
  made_up = along @ np.linalg.solve(gram, along)
  return float(np.sqrt(max(1 - made_up / np.square(left).sum(), 0)))


def _turned(frame, u: np.ndarray) -> np.ndarray:
  """u with the sign of one feature turned, or of all, where that is another
  record, and one within the bounds."""
  d = len(u)
  signs = np.vstack([1 - 2 * np.eye(d), -np.ones((1, d))])
  raw = u * frame.scale + frame.center
  turned = ((raw * signs - frame.center) / frame.scale).astype(np.float32)
  low, high = frame.limits
  inside = ((turned >= low) & (turned <= high)).all(1)
  return turned[inside & (np.abs(turned - u).max(1) > FAR)]


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
