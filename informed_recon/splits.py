"""Who is who: fixed set, shadow targets, evaluation targets, accuracy records.

One seeded permutation is cut in the order accuracy, targets, fixed, shadow
(the public notebook's order), so a larger number of shadow targets extends a
smaller one without moving any other record.
"""

from typing import NamedTuple

import numpy as np

from informed_recon.types import UserError


class Split(NamedTuple):
  """Disjoint indices into a data set, int64."""

  accuracy: np.ndarray  # to measure the released model's accuracy
  targets: np.ndarray  # evaluation targets, unknown to the adversary
  fixed: np.ndarray  # the records the adversary knows
  shadow: np.ndarray  # shadow targets: the adversary's side knowledge


def split(
  n: int, *, accuracy: int, targets: int, fixed: int, shadow: int, seed: int
) -> Split:
  """Cuts n records into a `Split`.

  Raises:
    UserError: no target or no fixed record, the parts ask for more than n
      records, or the seed is negative.
  """
  sizes = dict(accuracy=accuracy, targets=targets, fixed=fixed, shadow=shadow)
  for name, size in sizes.items():
    # Not every attack wants shadow targets, not every run an accuracy.
    least = 1 if name in ("targets", "fixed") else 0
    if size < least:
      raise UserError(f"split.{name} must be at least {least}, got {size}")
  if sum(sizes.values()) > n:
    asked = " + ".join(f"{size} {name}" for name, size in sizes.items())
    raise UserError(
      f"split asks for {asked} = {sum(sizes.values())} records, "
      f"the data set has {n}; make a part smaller"
    )
  if seed < 0:
    raise UserError(f"split.seed must be at least 0, got {seed}")
  order = np.random.default_rng(seed).permutation(n)
  edges = np.cumsum([0, *sizes.values()])
  return Split(*(order[a:b] for a, b in zip(edges[:-1], edges[1:])))
