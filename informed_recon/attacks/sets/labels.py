"""Labels of the unknown records, read off what all of them together show.

The effect of a record is what it changes of what is seen. The effects of k
records add up to what is seen of them, to about a percent, so that sets of
labels can be compared before any record is known. The effect of a record of
class c is taken as normal around the mean of its class, μ_c, with one
covariance Σ for all classes (Fisher 1936). A set with counts n_c of the classes
then has the misfit

  (b - Σ_c n_c μ_c)ᵀ Σ⁻¹ (b - Σ_c n_c μ_c),

with b what is seen of the k records. μ and Σ are those of other records of the
kind.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg, optimize

from informed_recon.types import UserError

ALL = 60  # sets of labels up to which all are tried
RIDGE = 1e-4  # of the covariance, over its trace
BEAM = 64  # sets of labels that are kept while others are looked for
BATCH = 16  # records whose effects are computed at a time


def effects(explain: Callable, base: np.ndarray, x, y) -> np.ndarray:
  """What each record changes alone.

  Args:
    explain: as `reconstruct` takes it; here of one record at a time.
    base: (P,) what is seen without the unknown records.
    x: (N, d) records like the unknown ones, none of them known or unknown.
    y: (N,) their labels.

  Returns:
    (N, P).
  """

  def of_one(record):
    x, y = record
    return explain(x[None], y[None]) - base

  @jax.jit
  def of_all(records):
    return jax.lax.map(of_one, records, batch_size=BATCH)

  return np.asarray(of_all((jnp.asarray(x), jnp.asarray(y))))


def likely_labels(
  effects: np.ndarray, y: np.ndarray, change: np.ndarray, k: int, count: int = 8
) -> np.ndarray:
  """The sets of labels that fit best.

  Args:
    effects: (N, P) of records of every class, as `effects` gives them.
    y: (N,) labels of these records.
    change: b (P,) what is seen less `base`.
    k: unknown records.
    count: sets to return.

  Returns:
    (C, k) labels, the likeliest first; C <= count. `reconstruct` takes them.

  Raises:
    UserError: shapes that do not fit, or no two records of one class.
  """
  effects, y, change = (np.asarray(a) for a in (effects, y, change))
  if effects.shape != (len(y), change.size) or k < 1 or count < 1:
    raise UserError(
      "effects must be (N, P), y (N,), change (P,), k and count at least 1, "
      f"got {effects.shape}, {y.shape}, {change.shape}, k={k}, count={count}"
    )
  classes, index = np.unique(y, return_inverse=True)
  if len(classes) == len(y):
    raise UserError("effects of two records of one class at least are needed")
  means = np.stack([effects[index == c].mean(0) for c in range(len(classes))])
  inner = _inner(effects - means[index], np.vstack([means, change]))
  square, along = inner[:-1, :-1], inner[:-1, -1]

  def misfit(counts):
    return np.einsum("ci,ij,cj->c", counts, square, counts) - 2 * counts @ along

  counts = np.zeros((1, len(classes)), int)
  counts[0, np.bincount(index).argmax()] = k
  while True:
    wider = np.unique(np.concatenate([counts, _exchanged(counts)]), axis=0)
    best = wider[np.argsort(misfit(wider), kind="stable")[:BEAM]]
    if np.array_equal(best, counts):
      break
    counts = best
  return np.stack([np.repeat(classes, each) for each in counts[:count]])


def by_means(explain, seen, base, means, k) -> np.ndarray:
  """Sets of labels to begin with, (C, k), where only the classes' means (K, d)
  are known: all sets, where they are few, else the one whose counts fit."""
  classes = range(len(means))
  if len(means) ** k <= 10_000_000:
    every = itertools.combinations_with_replacement(classes, k)
    some = list(itertools.islice(every, ALL + 1))
    if len(some) <= ALL:
      return np.array(some)
  whole = [
    explain(jnp.tile(mean, (k, 1)), jnp.full(k, c)) - base
    for c, mean in enumerate(means)
  ]
  alone = np.array(whole).T / k  # a record of each class
  amount = optimize.nnls(alone, seen - base)[0]
  amount *= k / max(amount.sum(), 1e-30)
  counts = np.floor(amount).astype(int)
  for c in np.argsort(counts - amount)[: k - counts.sum()]:
    counts[c] += 1
  return np.repeat(classes, counts)[None]


def _exchanged(counts: np.ndarray) -> np.ndarray:
  """With one label of each set exchanged for another."""
  unit = np.eye(counts.shape[1], dtype=int)
  moves = (unit[:, None] - unit[None]).reshape(-1, counts.shape[1])
  moved = (counts[:, None] + moves).reshape(-1, counts.shape[1])
  return moved[(moved >= 0).all(1)]


def _inner(rest: np.ndarray, vectors: np.ndarray) -> np.ndarray:
  """vectors Σ⁻¹ vectorsᵀ times a constant, for the covariance Σ of `rest`
  (N, P) with a ridge, by matrices of N x N (Woodbury 1950)."""
  rest, vectors = rest.astype(float), vectors.astype(float)
  square = rest @ rest.T
  square[np.diag_indices_from(square)] += RIDGE * np.trace(square)
  across = rest @ vectors.T
  factor = linalg.cho_factor(square)
  return vectors @ vectors.T - across.T @ linalg.cho_solve(factor, across)
