"""A check that tables bring with them: their numbers have few decimals.

Where every known value of a column is a whole number, or has at most k
decimals, the missing record's is taken to have no more. A wrong record meets
that by chance only, with probability 2 * slack / 10^-k a column; a right one
may fail it in a column or two. Nobody needs to know of it, and a regression
with one output has nothing else to be checked by.
"""

import numpy as np

from informed_recon.attacks.convex import trust
from informed_recon.attacks.convex.columns import CHANCE, independent, slack_of
from informed_recon.types import Reconstruction

MOST = 6  # decimals
SUPPORT = 5  # known records that must need the decimals of their column
RARE = 8  # of that many columns, a right record has one of more decimals
FINE = 0.05  # largest slack, in units of the last decimal, that tells anything


def checked(found: Reconstruction, known_x) -> Reconstruction:
  """Holds an answer that nothing else checks against its columns' decimals.

  Args:
    found: an answer in the units of the table.
    known_x: (n, d) the known records; columns of other than numbers are left
      out.
  """
  if found.checked or not found.identifiable or found.error is None:
    return found
  chances, wrong, told = {}, [], {}
  for j in range(len(found.x)):
    try:
      column, value = np.asarray(known_x[:, j], np.float64), float(found.x[j])
    except (TypeError, ValueError):
      continue
    slack, k = slack_of(found, column, j), _decimals(column)
    if k is None or not slack <= FINE * 10.0**-k:
      continue
    told[j] = column
    if abs(value - np.round(value, k)) <= slack:
      chances[j] = 2 * slack * 10.0**k
    else:
      wrong.append(f"column {j} would be {value:.8g}")
  allowed = max(1, len(told) / RARE)
  if len(wrong) > allowed or len(wrong) > len(told) / 2:
    return found._replace(
      identifiable=False,
      checked=True,
      message=f"{wrong[0]}, finer than any known record's: the weights are not "
      "at the optimum of the objective stated here (records weighted?)",
    )
  used = independent({j: told[j] for j in sorted(chances, key=chances.get)})
  if np.prod([chances[j] for j in used]) > CHANCE:
    return found
  message = found.message.replace(trust.UNCHECKED, "").strip("; ")
  return found._replace(checked=True, message=message)


def _decimals(column: np.ndarray) -> int | None:
  """How many decimals a column has; None: too many, or too few records say."""
  for k in range(MOST + 1):
    if np.all(np.abs(column - np.round(column, k)) <= 1e-9 * np.abs(column)):
      coarser = np.round(column, k - 1) if k else np.zeros_like(column)
      return k if np.sum(column != coarser) >= SUPPORT else None
  return None
