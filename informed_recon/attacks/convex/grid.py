"""A check that tables bring with them: their numbers lie on a grid.

Where every known value of a column is a whole number, or has at most k
decimals, or is such a number standardised, the missing record's is taken to lie
on the same grid. A wrong record meets that by chance only, with probability
2 * slack / step a column; a right one may fail it in a column or two. Nobody
needs to know of it, and a regression with one output has nothing else to be
checked by.
"""

import numpy as np

from informed_recon.attacks.convex import trust
from informed_recon.attacks.convex.columns import (
  CHANCE,
  CLEAR,
  independent,
  slack_of,
)
from informed_recon.types import Reconstruction

MOST = 6  # decimals
STEPS = 1e5  # most steps that a column's range may have
SUPPORT = 5  # known records that must lie a step apart
RARE = 8  # of that many columns, a right record lies off the grid in one
ROUNDING = 1e-9  # of a column's size


def checked(found: Reconstruction, known_x) -> Reconstruction:
  """Holds an answer that nothing else checks against its columns' grids, and
  says so where they do not check it either: the last step of every attack.

  Args:
    found: an answer in the units of the table.
    known_x: (n, d) the known records; columns of other than numbers are left
      out.
  """
  found = _held(found, known_x)
  return found if found.checked else trust.noted(found, trust.UNCHECKED)


def _held(found: Reconstruction, known_x) -> Reconstruction:
  if found.checked or not found.identifiable or found.error is None:
    return found
  chances, wrong, told = {}, [], {}
  for j in range(len(found.x)):
    try:
      column, value = np.asarray(known_x[:, j], np.float64), float(found.x[j])
    except (TypeError, ValueError):
      continue
    origin, step = _grid(column)
    slack = slack_of(found, column, j)
    if not slack <= CLEAR * step:
      continue
    told[j] = column
    steps = (value - origin) / step
    if abs(steps - np.round(steps)) * step <= slack:
      chances[j] = 2 * slack / step
    else:
      wrong.append(f"column {j} would be {value:.8g}")
  allowed = max(1, len(told) / RARE)
  if len(wrong) > allowed or len(wrong) > len(told) / 2:
    return trust.doubted(
      found._replace(checked=True),
      f"{wrong[0]}, between all that known records may have: the weights are "
      "not at the optimum of the objective stated here (records weighted?)",
    )
  used = independent({j: told[j] for j in sorted(chances, key=chances.get)})
  return found._replace(
    checked=bool(np.prod([chances[j] for j in used]) <= CHANCE)
  )


def _grid(column: np.ndarray) -> tuple[float, float]:
  """(origin, step) of a column; a step of 0 where there is none, or where too
  few records show it."""
  size = np.abs(column).max(initial=0)
  for k in range(MOST + 1):
    if np.all(np.abs(column - np.round(column, k)) <= ROUNDING * size):
      coarser = np.round(column, k - 1) if k else np.zeros_like(column)
      enough = np.sum(column != coarser) >= SUPPORT
      return 0.0, 10.0**-k if enough else 0.0
  values, counts = np.unique(column, return_counts=True)
  reach = values[-1] - values[0]
  near = 10 * ROUNDING * max(reach, ROUNDING * size)
  step = 0.0
  for gap in np.unique(np.diff(values)):
    step = _common(gap, step, near) if gap > near else step
    if 0 < step < reach / STEPS:
      return 0.0, 0.0
  if not step:
    return 0.0, 0.0
  step = reach / np.round(reach / step)
  places = np.round((values - values[0]) / step)
  if np.any(np.abs(values - values[0] - places * step) > near):
    return 0.0, 0.0
  beside = np.diff(places) == 1
  support = np.minimum(counts[:-1], counts[1:])[beside].sum()
  return float(values[0]), float(step) if support >= SUPPORT else 0.0


def _common(a: float, b: float, near: float) -> float:
  """The largest number that both are multiples of, up to `near`."""
  while b > near:
    a, b = b, a - b * np.round(a / b)
    b = abs(b)
  return a
