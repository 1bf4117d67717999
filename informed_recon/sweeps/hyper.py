"""Lists of overrides in the idiom of big_vision's `get_hyper(hyper)`.

    def get_hyper(hyper):
      return hyper.product([
        hyper.sweep("config.seed", range(3)),
        hyper.zipit([
          hyper.sweep("config.training.learning_rate", [0.1, 0.2]),
          hyper.sweep("config.training.steps", [100, 50]),
        ]),
      ])

Every function returns one dict of overrides a point of the sweep.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from informed_recon.types import UserError

Points = list[dict[str, Any]]


def sweep(name: str, values: Iterable[Any]) -> Points:
  """One point a value of one setting."""
  return [{name: value} for value in values]


def product(parts: Sequence[Points]) -> Points:
  """Every combination of the parts' points, the last part varying fastest."""
  return [_joined(points) for points in itertools.product(*parts)]


def zipit(parts: Sequence[Points]) -> Points:
  """First points together, second points together, and so on.

  Raises:
    UserError: parts of different length.
  """
  if len({len(part) for part in parts}) > 1:
    lengths = ", ".join(str(len(part)) for part in parts)
    raise UserError(f"hyper.zipit wants parts of one length, got {lengths}")
  return [_joined(points) for points in zip(*parts)]


def chainit(parts: Sequence[Points]) -> Points:
  """The points of the first part, then those of the second, and so on."""
  return list(itertools.chain(*parts))


def _joined(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
  return {key: value for point in points for key, value in point.items()}
