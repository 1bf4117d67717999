"""The numbers of results.json as rows for people."""

from collections.abc import Iterator, Mapping, Sequence

# Column -> metric and digits; what no row has gets no column.
METRICS = {
  "MSE": ("mse", 4),
  "MAE": ("mae", 4),
  "PSNR dB": ("psnr", 1),
  "SSIM": ("ssim", 3),
  "KL": ("kl", 2),
  "perceptual": ("perceptual", 3),
}
NAMES = {
  "nearest_neighbour_oracle": "nearest-neighbour oracle",
  "mean_image": "mean image",
  "ridge": "ridge regression",
}


def header(results: Mapping) -> tuple[str, ...]:
  return "", *_columns(results), "success", "TPR@1%FPR"


def rows(results: Mapping) -> Iterator[tuple[str, ...]]:
  """One row an attack, then one a baseline; cells are text.

  Who has answered for fewer targets than others has their number beside it.
  """
  groups = [results[group] for group in ("attacks", "baselines")]
  columns = _columns(results).values()
  counts = [row["targets"] for group in groups for row in group.values()]
  for group in groups:
    for name, row in group.items():
      fewer = f" ({row['targets']} targets)" * (row["targets"] < max(counts))
      yield (
        NAMES.get(name, name) + fewer,
        *(_mean(row, name, digits) for name, digits in columns),
        share(row.get("success_rate"), row.get("success_rate_ci95")),
        share(
          row.get("tpr_at_fpr", {}).get("0.01"),
          row.get("tpr_at_fpr_ci95", {}).get("0.01"),
        ),
      )


def _columns(results: Mapping) -> dict[str, tuple[str, int]]:
  some = next(iter(results["baselines"].values()))
  return {k: v for k, v in METRICS.items() if f"{v[0]}_mean" in some}


def aligned(cells: Sequence[Sequence[str]]) -> str:
  """Columns of one width under a ruled header, the first row."""
  widths = [max(map(len, column)) for column in zip(*cells)]
  lines = [
    "  ".join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in cells
  ]
  lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
  return "\n".join(lines)


def _mean(row: Mapping, name: str, digits: int) -> str:
  value, interval = row[f"{name}_mean"], row[f"{name}_mean_ci95"]
  if value is None:
    return "-"
  low, high = interval
  if 0 < value < 10**-digits:  # near-exact reconstructions
    return f"{value:.1e} [{low:.1e}, {high:.1e}]"
  return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def number(value: float) -> str:
  """An error with digits that mean something."""
  return f"{value:.4f}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def share(value: float | None, interval) -> str:
  """A share with its interval, if it has one."""
  if value is None:
    return "-"
  if interval is None:
    return f"{value:.1%}"
  return f"{value:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"
