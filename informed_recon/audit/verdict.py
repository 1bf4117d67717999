"""Whether a release tells a record from all others, and its label.

A record is told from all near it by the least singular value of the training's
Jacobian: the check by a second search may miss a combination of features that
its move left alone. What is not near is tried: the sign of one feature, or of
all, turned, and every other label. Where a change of features may make up for
another label, the best such change is looked for.
"""

import functools
import time
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np

from informed_recon.attacks.identifiability import COLUMNS
from informed_recon.audit.training import BLOCK, Training
from informed_recon.types import Records

FAR = 0.05  # spreads by which no combination of features may be off
MARGIN = 3  # times an answer's misfit that another record must have
# Where a change of features leaves less than this share of what another label
# changes, one is looked for in so many steps, until one gains too little.
SHARE, STEPS, SLOW = 0.5, 8, 0.9
JACOBIAN = 4e9  # bytes that it may take; nothing larger is vouched for
PART = 4096  # of its columns that are looked at in float64 at a time


class Verdict(NamedTuple):
  """On an answer that a second search came back to."""

  record: bool  # no other record is known to explain the release as well
  label: bool  # the same features with another label do not either


def make(training: Training, frame, fixed: Records, deadline: float):
  """(answer, record, distance) -> `Verdict`, or None where time ends before."""

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

  def judge(answer, index, distance) -> Verdict | None:
    try:
      return verdict(answer, np.int32(index), distance)
    except TimeoutError:
      return None

  return judge


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
