"""The numbers of results.json as rows for people."""

from collections.abc import Iterator, Mapping, Sequence

from informed_recon.report import words

CAP = 120.0  # dB, of the PSNR
# Column -> metric and digits; what no row has gets no column.
METRICS = {
  "MSE": ("mse", 4),
  "MAE": ("mae", 4),
  "PSNR dB": ("psnr", 1),
  "SSIM": ("ssim", 3),
  "KL": ("kl", 2),
  "perceptual": ("perceptual", 3),
}


def title(name: str) -> str:
  """An attack or baseline as the heading of a row."""
  return words.NAMES.get(name, name)


def header(results: Mapping) -> tuple[str, ...]:
  rates = [f"TPR@{float(fpr):.3g}FPR" for fpr in _rates(results)]
  return "", *_columns(results), "success", *rates


def rows(results: Mapping) -> Iterator[tuple[str, ...]]:
  """One row an attack, then one a baseline; cells are text.

  Who has answered for fewer targets than others has their number beside it.
  """
  groups = [results[group] for group in ("attacks", "baselines")]
  columns, rates = _columns(results).values(), _rates(results)
  counts = [row["targets"] for group in groups for row in group.values()]
  for group in groups:
    for name, row in group.items():
      fewer = f" ({row['targets']} targets)" * (row["targets"] < max(counts))
      yield (
        title(name) + fewer,
        *(_mean(row, metric, digits) for metric, digits in columns),
        share(row.get("success_rate"), row.get("success_rate_ci95")),
        *(
          share(
            row.get("tpr_at_fpr", {}).get(fpr),
            row.get("tpr_at_fpr_ci95", {}).get(fpr),
          )
          for fpr in rates
        ),
      )


def _rates(results: Mapping) -> list[str]:
  """The false-positive rates of the run."""
  every = [*results["attacks"].values(), *results["baselines"].values()]
  return list(next((r["tpr_at_fpr"] for r in every if "tpr_at_fpr" in r), {}))


def _columns(results: Mapping) -> dict[str, tuple[str, int]]:
  """Those of which there is a number; only images have SSIM and PSNR."""
  every = [*results["attacks"].values(), *results["baselines"].values()]

  def there(metric: str) -> bool:
    return any(row.get(f"{metric}_mean") is not None for row in every)

  return {
    column: (metric, digits)
    for column, (metric, digits) in METRICS.items()
    if there("ssim" if metric == "psnr" else metric)
  }


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
  if name == "psnr" and value >= CAP:
    return f"at least {CAP:g}"  # exact reconstructions are capped there
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
