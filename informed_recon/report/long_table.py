"""The numbers of results.json as rows for a table of many runs."""

from collections.abc import Iterator, Mapping
from typing import Any


def numbers(results: Mapping) -> Iterator[tuple]:
  """(group, name, metric, value, low, high) of every number in results.json."""
  named = {
    **{("attacks", k): v for k, v in results["attacks"].items()},
    **{("baselines", k): v for k, v in results["baselines"].items()},
    ("released_model", ""): results["released_model"],
    ("privacy", ""): results["privacy"],
  }
  for (group, name), row in named.items():
    flat = dict(_flat(row))
    for metric, value in flat.items():
      if isinstance(value, int | float) and not isinstance(value, bool):
        low, high = flat.get(_interval_of(metric)) or (None, None)
        yield group, name, metric, value, low, high


def _flat(row: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
  for key, value in row.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{prefix}{key}.")
    else:
      yield prefix + key, value


def _interval_of(metric: str) -> str:
  """tpr_at_fpr.0.01 has its interval in tpr_at_fpr_ci95.0.01."""
  if metric.startswith("tpr_at_fpr."):
    return metric.replace("tpr_at_fpr.", "tpr_at_fpr_ci95.", 1)
  return f"{metric}_ci95"
