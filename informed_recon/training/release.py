"""What is published of trained parameters: rounded, pruned, some layers alone.

Every model is published in the same way, the adversary's shadow models too, so
that they look as the released one does.
"""

import dataclasses
import re
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from informed_recon import tree
from informed_recon.types import UserError

FLOATS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
INTEGERS = {"int8": 127, "int4": 7}  # largest level, as many below zero
FORMATS = ("float32", *FLOATS, *INTEGERS)


@dataclasses.dataclass(frozen=True)
class Release:
  """What happens to each parameter array, in this order."""

  pruned: float = 0.0  # share of its entries set to zero, the smallest
  format: str = "float32"  # it is rounded to; one of `FORMATS`
  layers: str = ""  # regular expression for the arrays published; "": all

  def __post_init__(self):
    if not 0 <= self.pruned < 1:
      raise UserError(f"release.pruned must lie in [0, 1), got {self.pruned}")
    if self.format not in FORMATS:
      raise UserError(
        f"unknown release.format {self.format!r}; known: {', '.join(FORMATS)}"
      )


def visible(layout: Sequence[tree.Leaf], layers: str) -> np.ndarray:
  """(P,) booleans: the parameters of the arrays whose name has a match.

  Raises:
    UserError: no array's has, or no regular expression.
  """
  try:
    matches = [bool(re.search(layers, leaf.name)) for leaf in layout]
  except re.error as error:
    raise UserError(
      f"release.layers {layers!r} is no regular expression: {error}"
    ) from None
  if not any(matches):
    names = ", ".join(leaf.name for leaf in layout)
    raise UserError(f"release.layers {layers!r} has no match; known: {names}")
  return np.repeat(matches, [leaf.size for leaf in layout])


def publish(
  rows: np.ndarray, layout: Sequence[tree.Leaf], release: Release
) -> np.ndarray:
  """Published parameters (N, P) float32 of models (N, P); 0 stands for what is
  not published.

  Integers are levels, evenly spaced about 0 up to an array's largest entry,
  each model and array with its own spacing.
  """
  out = np.zeros(np.shape(rows), np.float32)
  shown = visible(layout, release.layers)
  for leaf in layout:
    part = slice(leaf.start, leaf.start + leaf.size)
    if shown[leaf.start]:
      values = _prune(np.asarray(rows[:, part]), release.pruned)
      out[:, part] = _round(values, release.format)
  return out


def _prune(values: np.ndarray, share: float) -> np.ndarray:
  count = int(share * values.shape[1])
  if not count:
    return values
  values = values.copy()
  smallest = np.argpartition(np.abs(values), count - 1, axis=1)[:, :count]
  np.put_along_axis(values, smallest, 0, axis=1)
  return values


def _round(values: np.ndarray, name: str) -> np.ndarray:
  if name in FLOATS:
    return values.astype(FLOATS[name]).astype(np.float32)
  if name in INTEGERS:
    unit = np.abs(values).max(1, keepdims=True) / INTEGERS[name]
    unit = np.where(unit > 0, unit, 1)
    return np.round(values / unit) * unit
  return values
