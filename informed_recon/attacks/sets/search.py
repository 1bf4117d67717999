"""A set of unknown records, from what a release shows of all of them at once.

`explain(x, y)` says what would be seen if the k records x (k, d) with labels y
(k,) were the unknown ones. For the simulation attack that is the end of
training with them and the known records; at a stationary point it is the sum of
their gradients. The set that explains what is seen is looked for by
regularised Gauss-Newton steps over all records at once (`step`), without bounds
on features: records that are right keep within them, which is a check of its
own.

Sets of labels are candidates: those that are likely (`labels`), else all of
them, where they are few, else the one whose counts of classes fit best. Each
gets a step, the better half another, until one is left. Where that one does not
explain what is seen, others go the same way: its neighbours, one label
exchanged, or, where the labels are given, the same with the half of its records
that is least sure begun anew.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.sets import labels as label_sets
from informed_recon.attacks.sets import step as steps
from informed_recon.attacks.sets import verdict
from informed_recon.types import UserError

SETTLED = 1e-4  # ρ above which other starts are tried
CONVERGED = 1e-5  # ρ at which there is nothing left to gain
MARGIN = 3  # times ρ that the set with another label must have
STALL, SLOW = 10, 0.9  # so many steps that leave this share of ρ end a search
SHIFT = 0.3  # of the spread between classes, so that no two are the same
STARTS = 4  # of a set of labels that is given
STEPPED = 8  # of them get a step


class Found(NamedTuple):
  """A set of records, in no order."""

  x: np.ndarray  # (k, d) within the bounds
  y: np.ndarray  # (k,) labels
  residual: float  # ρ of the set
  identifiable: np.ndarray  # (k,) bool: no record vouched for is wrong
  error: np.ndarray  # (k,) rms standard error a feature; inf: not told
  products: int  # with the Jacobian or its transpose, in all
  message: str = ""


def reconstruct(
  explain: steps.Explain,
  seen: np.ndarray,
  base: np.ndarray,
  means: np.ndarray,
  k: int,
  *,
  labels: np.ndarray | None = None,
  bounds: tuple[float, float] = (0.0, 1.0),
  rounds: int = 2,
  most: int = 60,
  seed: int = 0,
) -> Found:
  """Looks for the k records that explain what is seen.

  Args:
    explain: (x (k, d), y (k,)) -> (P,) what would be seen, differentiable in
      x; `training` has two such functions.
    seen: b (P,), what is seen of the release.
    base: (P,) what is seen without the unknown records.
    means: (K, d) what a record of each class looks like on average.
    k: unknown records.
    labels: (k,) theirs, if they are known; or (C, k) sets of labels to begin
      with, as `likely_labels` gives them.
    bounds: least and largest value of a feature, finite. The verdict measures
      errors over this range, so wider bounds than the data's make it laxer.
    rounds: of records begun anew or exchanged labels, at most, where that
      fails.
    most: steps of the last candidate.
    seed: of what tells records of one class apart at the start.

  Returns:
    A `Found`. Its records are clipped to the bounds and in no order. Each is
    vouched for by itself (`identifiable`), and none is where the whole set is
    not explained (`verdict`).

  Raises:
    UserError: shapes or bounds that make no sense, or fewer equations than
      unknowns.
  """
  seen, base, means = (np.asarray(a) for a in (seen, base, means))
  _check(seen, base, means, k, labels, bounds)
  rng = np.random.default_rng(seed)
  search = _Search(explain, seen, base, means, most, rng)
  given = np.ndim(labels) == 1
  if given:
    tried = np.tile(labels, (STARTS, 1))
  elif labels is not None:
    tried = np.asarray(labels)
  else:
    tried = label_sets.by_means(explain, seen, base, means, k)
  best = search.halve([search.begin(y) for y in tried])
  for _ in range(rounds):
    if search.share(best[0]) <= SETTLED:
      break
    if given:
      more = search.renewed(best, bounds)
    else:
      more = search.neighbours(best)
    best = _first([best, search.halve(more)], 1)[0]
  state, y = best
  residual = search.share(state)
  judged = verdict.judge(explain, search.seen, state.x, y, residual, bounds)
  sure, message = judged.identifiable, judged.message
  if sure.any() and not given:
    told = search.told(best)
    sure = sure & told
    if not (message or told.all()):
      message = f"the labels of {(~told).sum()} of {k} records are not told"
  return Found(
    x=np.clip(state.x, *bounds),
    y=np.asarray(y),
    residual=residual,
    identifiable=sure,
    error=judged.error,
    products=search.products + judged.products,
    message=message,
  )


_begin = jax.jit(steps.begin, static_argnums=0)
_step = jax.jit(steps.step, static_argnums=0)


class _Search:
  """Candidates are pairs of a state and its labels (k,)."""

  def __init__(self, explain: Callable, seen, base, means, most, rng):
    self.explain, self.most, self.rng = explain, most, rng
    self.seen, self.means = jnp.asarray(seen), means
    self.gap = float(np.linalg.norm(seen - base))
    self.products = 0

  def begin(self, y):
    """At the classes' means, shifted a little so that no two are the same."""
    x = self.means[y]
    spread = self.means.std(0)
    shift = spread * self.rng.normal(size=x.shape)
    x = jnp.asarray(x + SHIFT * shift, self.means.dtype)
    return self.at(x, y)

  def at(self, x, y):
    return _begin(self.explain, self.seen, x, y), y

  def step(self, candidate):
    state, y = candidate
    before = int(state.products)
    state = _step(self.explain, self.seen, y, state)
    self.products += int(state.products) - before
    return state, y

  def share(self, state) -> float:
    return float(jnp.sqrt(state.cost)) / self.gap

  def halve(self, candidates):
    """The best of all, after as many steps as make a difference to it."""
    candidates = _first(candidates, STEPPED)
    while len(candidates) > 1:
      candidates = [self.step(c) for c in candidates]
      candidates = _first(candidates, len(candidates) // 2)
    (one,) = candidates
    shares = [self.share(one[0])]
    for _ in range(self.most):
      one = self.step(one)
      shares.append(self.share(one[0]))
      slow = len(shares) > STALL and shares[-1] > SLOW * shares[-1 - STALL]
      if shares[-1] <= CONVERGED or slow:
        break
    return one

  def renewed(self, candidate, bounds):
    """With the half of its records anew that is least sure."""
    state, y = candidate
    doubt = verdict.doubt(self.explain, self.seen, state.x, y, bounds)
    sure = np.argsort(doubt)[: len(y) // 2]
    fresh = [self.begin(y)[0].x for _ in range(STARTS)]
    kept = state.x[sure].clip(*bounds)
    return [self.at(x.at[sure].set(kept), y) for x in fresh]

  def neighbours(self, candidate):
    """With one label exchanged, that record anew."""
    state, _ = candidate
    found = []
    for i, other in self.exchanged(candidate):
      fresh = self.begin(other)[0].x[i]
      found.append(self.at(state.x.at[i].set(fresh), other))
    return found

  def told(self, candidate):
    """(k,) bool: no other label of a record alone, its features the same,
    explains what is seen as well."""
    state, y = candidate
    enough = MARGIN * max(self.share(state), CONVERGED)
    told = np.full(len(y), True)
    for i, other in self.exchanged(candidate):
      told[i] &= self.share(self.at(state.x, other)[0]) > enough
    return told

  def exchanged(self, candidate):
    """(record, labels) for every label of every record exchanged alone."""
    y = candidate[1]
    for i, c in itertools.product(range(len(y)), range(len(self.means))):
      if c != y[i]:
        other = np.array(y)
        other[i] = c
        yield i, other


def _first(candidates, count: int):
  """Those with the smallest misfit."""
  return sorted(candidates, key=lambda c: float(c[0].cost))[:count]


def _check(seen, base, means, k, labels, bounds) -> None:
  if means.ndim != 2 or seen.ndim != 1 or seen.shape != base.shape:
    raise UserError(
      "seen and base must be of one shape (P,) and means (K, d), got "
      f"{seen.shape}, {base.shape} and {means.shape}"
    )
  sets = np.atleast_2d(np.zeros(max(k, 1), int) if labels is None else labels)
  if k < 1 or sets.ndim != 2 or sets.shape[1] != k or not len(sets):
    raise UserError(
      f"k must be at least 1 and labels (k,), (C, k) or None, got k={k} and "
      f"labels of shape {np.shape(labels)}"
    )
  whole = sets.dtype.kind in "iu" and sets.min() >= 0
  if not (whole and sets.max() < len(means)):
    raise UserError(
      f"labels must be classes, whole numbers from 0 to {len(means) - 1}, the "
      "rows of means"
    )
  low, high = (-np.inf, np.inf) if bounds is None else bounds
  if not -np.inf < low < high < np.inf:
    raise UserError(
      "bounds must be finite, the lower first: a record is vouched for by its "
      f"error over their range; got {bounds}"
    )
  numbers, d = len(seen), means.shape[1]
  if numbers <= k * d:
    raise UserError(
      f"{numbers} equations for {k * d} unknowns ({k} records with {d} "
      f"features): at most {(numbers - 1) // d} records can be had at once"
    )
  if not (np.isfinite(seen).all() and np.isfinite(base).all()):
    raise UserError("what is seen must be finite")
  if (seen == base).all():
    raise UserError("what is seen shows no unknown record: it equals base")
