"""Which record plays which part: accuracy, targets, fixed set, shadow targets.

One seeded permutation is cut in the order accuracy, targets, fixed, shadow
(the public notebook's order), so a larger number of shadow targets extends a
smaller one without moving any other record. Where there are foreign records,
which follow the own ones, the shadow targets are cut from a permutation of
these.
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
  unused: np.ndarray  # own records that are in no other part


def split(
  n: int,
  foreign: int = 0,
  *,
  accuracy: int,
  targets: int,
  fixed: int,
  shadow: int,
  seed: int,
) -> Split:
  """Cuts n own records, and foreign ones, into a `Split`.

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
  if foreign and shadow > foreign:
    raise UserError(
      f"split.shadow asks for {shadow} records, the set of data.shadow has "
      f"{foreign}; make it smaller"
    )
  own = {k: v for k, v in sizes.items() if not (foreign and k == "shadow")}
  if sum(own.values()) > n:
    asked = " + ".join(f"{size} {name}" for name, size in own.items())
    raise UserError(
      f"split asks for {asked} = {sum(own.values())} records, "
      f"the data set has {n}; make a part smaller"
    )
  if seed < 0:
    raise UserError(f"split.seed must be at least 0, got {seed}")
  order = np.random.default_rng(seed).permutation(n)
  edges = np.cumsum([0, *own.values()])
  parts = [order[a:b] for a, b in zip(edges[:-1], edges[1:])]
  if foreign:
    others = np.random.default_rng((seed, 1)).permutation(foreign)
    parts.append(n + others[:shadow])
  return Split(*parts, unused=order[edges[-1] :])
