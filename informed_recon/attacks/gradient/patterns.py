"""Records out of which hidden units they switch on.

Where σ is a line of slope `low` below 0 and `high` above, as ReLU is, the
gradient by a hidden unit's weights, over its output weight, is

  h_j = Σ_i v_i (high if w_j·x_i > 0 else low),     v_i = r_i x_i,

the same for all units that the same records switch on. Neighbouring cells of
the arrangement of hyperplanes w·x_i = 0 differ in one record, so the
differences of the distinct h_j that come up most often are the v_i, up to their
sign and the slopes' difference. A batch is right where its v_i leave every unit
with slopes of `low` and `high` alone, and each record with those that its own
sign(w_j·x_i) demands; nothing is searched and nothing is approximate. (That the
zeros of a ReLU layer's gradient give the batch exactly is the idea of SPEAR,
Dimitrov et al. 2024; this argument is for one output.)
"""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

SAME = 1e-8  # distance of vectors that count as one, over the largest entry
COARSE = 1e-6  # the same of their differences
MOST_CONDITION = 1e8  # of the v_i, as a matrix: a fitted record's is short
NEAR = 0.01  # how near to 0 or 1 a unit's share of a record is
MOST_CELLS = 1500  # distinct vectors whose differences are looked at
SPARE = 6  # differences beyond B that may be among the v_i
MOST_TRIES = 3000  # choices of B among them


def slopes(activation: Callable) -> tuple[float, float] | None:
  """(low, high) of a σ made of two half-lines that meet in 0, else None."""
  at = np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
  value = np.asarray(activation(jnp.asarray(at)), float)
  low, high = -value[2], value[4]
  line = np.where(at < 0, low, high) * at
  return (low, high) if np.allclose(value, line, atol=1e-12) else None


def find(h: np.ndarray, w: np.ndarray, low: float, high: float):
  """Records up to their lengths, from h (m, B) and w (m, B) in a basis.

  Returns:
    (v (B, B), sign (B,)): record i is a positive multiple of sign_i v_i. None
    where no batch fits every unit.
  """
  size = h.shape[1]
  candidates = _differences(h)[: size + SPARE] / (high - low)
  tries = itertools.combinations(range(len(candidates)), size)
  for pick in itertools.islice(tries, MOST_TRIES):
    found = _fitting(candidates[list(pick)], h, w, low, high)
    if found is not None:
      return found
  return None


def _differences(h) -> np.ndarray:
  """Differences of distinct rows of h, the most frequent first."""
  scale = np.abs(h).max()
  cells = np.unique(np.round(h / (SAME * scale)), axis=0, return_index=True)[1]
  cells = h[np.sort(cells)[:MOST_CELLS]]
  one, other = np.triu_indices(len(cells), 1)
  differences = cells[one] - cells[other]
  # v and -v count as one: the first entry that is not 0 is made positive.
  first = np.argmax(np.abs(differences) > COARSE * scale, axis=1)
  sign = np.sign(differences[np.arange(len(one)), first])
  differences = differences * sign[:, None]
  _, index, counts = np.unique(
    np.round(differences / (COARSE * scale)),
    axis=0,
    return_index=True,
    return_counts=True,
  )
  return differences[index[np.argsort(-counts, kind="stable")]]


def _fitting(v, h, w, low, high):
  """(v, sign) if the rows of v, some with another sign, explain every unit."""
  if np.linalg.cond(v) > MOST_CONDITION:
    return None
  slope = h @ np.linalg.inv(v)  # (m, B)
  v, on = v.copy(), np.empty(h.shape, bool)
  for i in range(len(v)):
    for sign in (1, -1):
      share = (sign * slope[:, i] - low) / (high - low)  # 0 off, 1 on
      rounded = np.round(share)
      near = np.abs(share - rounded).max() < NEAR
      if near and set(rounded) <= {0.0, 1.0}:
        v[i] *= sign
        on[:, i] = rounded > 0
        break
    else:
      return None
  along = w @ v.T
  signs = np.where(((along > 0) == on).mean(0) > 0.5, 1.0, -1.0)
  right = ((along * signs > 0) == on) | (np.abs(along) < SAME)
  return (v, signs) if right.all() else None
