"""The simulation attack: find the record whose training ends at the release.

The adversary runs the training algorithm A itself and solves

  minimise over x in [lower, upper]^d and labels y
    ‖A(D₋ ∪ {(x, y)}) - θ‖² + w ‖C^(-1/2) (x - m)‖²

by Levenberg-Marquardt steps in x (`step`): conjugate gradients on
the normal equations, where a product with the Jacobian or its transpose is one
pass through the linearised training, kept from the current point. A Jacobian
made of a sample of D₋, another in every training step (`sampled`), costs a
small part of the whole one; the misfit is always that of all of D₋. With
w = 0 no shadow model is needed. With noise of variance w in θ, and m and C the
mean and the covariance of what the adversary holds, the answer is the most
probable record.

Labels and starting points are *candidates*. The most promising one gets the
next step: the one with the smallest misfit, where a candidate that had no step
yet is taken at a share of its own. The first step of each is a coarse one: it
tells them apart at less cost. The relative residual

  ρ = ‖A(D₋ ∪ {(x, y)}) - θ‖ / ‖A(D₋) - θ‖

judges convergence and, without any knowledge of the truth, whether the record
explains the release. It is 1 where the record explains no more than its
absence. Derived for this project; gradients through training go back to
Maclaurin, Duvenaud and Adams (2015).
"""

import collections
import math
import time
from collections.abc import Callable, Collection, Iterator
from concurrent import futures
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.simulation.step import (
  Release,
  Search,
  Simulate,
  State,
  make,
)
from informed_recon.types import Records, UserError

# index of a release -> starting points (C, *shape) and their labels (C,); None
# where it cannot begin yet: it is asked again when another search has ended
Candidates = Callable[[int], tuple[np.ndarray, np.ndarray] | None]

PATIENCE = 4  # stalls in a row that end a candidate
LANES = 2  # programs that run at a time: what one leaves idle, the other uses


class Answer(NamedTuple):
  """What the search found for one release."""

  x: np.ndarray  # (*shape)
  y: np.ndarray  # () label
  residual: float  # ρ of the answer
  explained: bool  # ρ is small enough to trust the answer
  steps: int
  passes: float  # runs through training, forward or backward, in all
  trace: np.ndarray  # (steps, ) ρ after each step, of the candidate stepped
  iterates: np.ndarray  # (steps, *shape) likewise
  spent: np.ndarray  # (steps,) passes until then, over all candidates
  ended: bool = True  # False: time cut the search short


def check(search: Search) -> None:
  """Refuses settings that make no sense."""
  for name in ("steps", "cg_steps"):
    if getattr(search, name) < 1:
      raise UserError(
        f"simulation {name} must be at least 1, got {getattr(search, name)}"
      )
  for name in ("cg_tolerance", "optimism"):
    if not 0 < getattr(search, name) < 1:
      raise UserError(
        f"simulation {name} must lie in (0, 1), got {getattr(search, name)}"
      )
  if not 0 < search.converged <= search.explained < 1:
    raise UserError(
      "simulation needs 0 < converged <= explained < 1, got "
      f"{search.converged} and {search.explained}"
    )


def gaussian_prior(records: np.ndarray, weight: float) -> Callable:
  """x -> √w C^(-1/2) (x - m), whose squared norm is the penalty.

  Args:
    records: (n, *shape) of the kind of the target; C is their covariance,
      with a hundredth of its mean variance added to the diagonal.
    weight: w, the variance of the noise in one released parameter.
  """
  flat = records.reshape(len(records), -1).astype(np.float64)
  mean = flat.mean(0)
  covariance = np.cov(flat, rowvar=False)
  covariance += 0.01 * np.trace(covariance) / len(mean) * np.eye(len(mean))
  # With C = L Lᵀ, inverse(L) is a square root of C's inverse.
  whiten = np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.float32)
  center = jnp.asarray(mean, jnp.float32)

  def penalty(x):
    return jnp.sqrt(weight) * (whiten @ (x.ravel() - center))

  return penalty


def reconstruct(
  simulate: Simulate,
  fixed: Records,
  releases: Release,
  candidates: Candidates,
  search: Search,
  *,
  prior: Callable | None = None,
  batch: int = 16,
  skip: Collection[int] = (),
  jacobian_cost: float = 1.0,
  until: float = math.inf,
) -> Iterator[tuple[int, Answer]]:
  """Searches for the record behind each release; yields them as they end.

  Args:
    simulate: the training algorithm, (fixed, target, id) -> parameters (P,),
      differentiable in `target.x`.
    fixed: the n records that the adversary knows.
    releases: M released models, as arrays with a leading axis M.
    candidates: index of a release -> starting points (C, *shape) and labels
      (C,) for it.
    search: settings.
    prior: x (*shape) -> residuals of a penalty, such as `gaussian_prior`.
    batch: releases searched at once, side by side in `LANES` programs.
    skip: indices of releases that are done already.
    jacobian_cost: of a product with the Jacobian, in runs through training.
    until: `time.monotonic` at which no further step begins; searches that are
      under way are then yielded as they stand.

  Yields:
    (index, Answer), in no particular order.

  Raises:
    UserError: settings that make no sense, or training without a finite
      derivative.
  """
  check(search)
  fixed = Records(*map(jnp.asarray, fixed))
  begin, step = make(simulate, search, prior, jacobian_cost)
  waiting = collections.deque(
    i for i in range(len(releases.theta)) if i not in skip
  )
  batch = max(min(batch, len(waiting)), 1)
  lanes = min(LANES, batch)
  width = -(-batch // lanes)

  def advance(lane: list[_Target]) -> list[_Target]:
    """Fills up a lane, makes a step for each in it; returns who is through."""
    while len(lane) < width:
      try:
        i = waiting.popleft()
      except IndexError:
        break
      start = candidates(i)
      if start is None:
        waiting.appendleft(i)
        break
      x, y = start
      release = Release(*(leaf[i] for leaf in releases))
      states = jax.device_get(begin(fixed, release, jnp.asarray(x), y))
      lane.append(_Target(i, release, states, y))
    if not lane:
      return []
    # A full width always: one compiled program.
    picked = [lane[k % len(lane)] for k in range(width)]
    at = [target.promising(search) for target in picked]
    stepped = jax.device_get(
      step(
        fixed,
        _stack([target.release for target in picked]),
        np.stack([t.labels[k] for t, k in zip(picked, at)]),
        _stack([t.state(k) for t, k in zip(picked, at)]),
      )
    )
    for row, target in enumerate(lane):
      target.update(at[row], State(*(leaf[row] for leaf in stepped)))
    through = [target for target in lane if target.over(search)]
    lane[:] = [target for target in lane if target not in through]
    return through

  with futures.ThreadPoolExecutor(lanes) as threads:
    first, *others = [[] for _ in range(lanes)]
    running = {threads.submit(advance, first): first}
    while running:
      for future in futures.wait(running, None, futures.FIRST_COMPLETED).done:
        lane, through = running.pop(future), future.result()
        # Before the lane goes on: what comes next may depend on the answers.
        for target in through:
          yield target.index, target.answer(search)
        late = time.monotonic() > until
        # The others begin when the first has compiled what all of them run, and
        # look again where there was nothing to do.
        others.append(lane)
        if (lane or through) and not late:
          for ready in others:
            if ready or waiting:
              running[threads.submit(advance, ready)] = ready
          others = []
        for target in lane if late else ():
          yield target.index, target.answer(search)._replace(ended=False)


class _Target:
  """A release with its candidates, on the host."""

  def __init__(self, index: int, release: Release, states: State, labels):
    self.index, self.release, self.labels = index, release, labels
    # jax hands out read-only arrays.
    self.states = State(*map(np.array, states))
    self.residuals, self.iterates, self.spent = [], [], []

  def state(self, k: int) -> State:
    return State(*(leaf[k] for leaf in self.states))

  def update(self, k: int, state: State) -> None:
    if np.isnan(state.cost):
      raise UserError(
        f"the training has no finite derivative where target {self.index} is "
        "searched; Adam and its like have none where a gradient is 0, unless "
        "training.optimizer_options has an eps_root, such as 1e-6"
      )
    for leaf, value in zip(self.states, state):
      leaf[k] = value
    self.residuals.append(state.residual)
    self.iterates.append(state.x)
    self.spent.append(self.states.passes.sum())

  def _ended(self, search: Search) -> np.ndarray:
    """Candidates that will not get better: (C,) booleans."""
    found = self.states.residual <= search.explained
    patience = np.where(found, 1, PATIENCE)
    done = self.states.residual <= search.converged
    return done | (self.states.stalls >= patience)

  def promising(self, search: Search) -> int:
    """The candidate to step next."""
    misfit = np.where(
      self.states.steps == 0,
      search.optimism * self.states.cost,
      self.states.cost,
    )
    return int(np.argmin(np.where(self._ended(search), np.inf, misfit)))

  def over(self, search: Search) -> bool:
    ended = self._ended(search)
    found = (ended & (self.states.residual <= search.explained)).any()
    return found or ended.all() or len(self.residuals) >= search.steps

  def answer(self, search: Search) -> Answer:
    best = int(np.argmin(self.states.cost))
    residual = float(self.states.residual[best])
    return Answer(
      x=self.states.x[best],
      y=self.labels[best],
      residual=residual,
      explained=residual <= search.explained,
      steps=len(self.residuals),
      passes=float(self.states.passes.sum()),
      trace=np.array(self.residuals),
      iterates=np.array(self.iterates),
      spent=np.array(self.spent),
    )


def _stack(rows: list):
  return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
