"""Figures over a sweep, one file each: `draw(results) -> (Figure, sentences)`.

A config file asks for one by its name: `CURVE = "scaling"`. `draw` takes the
points that are done and returns a matplotlib Figure and what it shows in
sentences. Where there is also `rows(results) -> (header, rows)`, the page has
that table in place of every point's mean squared error.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

EXPORTS = ("draw",)


class Result(NamedTuple):
  """One point of a sweep that is done."""

  overrides: Mapping[str, Any]  # dotted path in the config -> value
  results: Mapping[str, Any]  # as in results.json
  labels: Mapping[str, Any] = {}  # what the sweep calls it, if it does
