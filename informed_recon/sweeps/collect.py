"""One table, one figure and one page from the points that are done."""

import csv
import io
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib

from informed_recon import registry
from informed_recon.report import figures, page, sweep_page
from informed_recon.report.curves import Result
from informed_recon.storage import files
from informed_recon.sweeps.plan import Sweep
from informed_recon.sweeps.state import state


def collect(sweep: Sweep, directory: pathlib.Path) -> None:
  """Leaves `results.csv`, `figure.png` and `sweep.html` of what is done, and
  `points.json`, the labels of each result."""
  there = [point for point in sweep.points if point.results.exists()]
  done = [
    Result(point.overrides, files.read_json(point.results), point.labels)
    for point in there
  ]
  files.write_json(
    directory / "points.json",
    {str(p.results.relative_to(directory)): dict(p.labels) for p in there},
  )
  keys = list(
    dict.fromkeys(k for p in sweep.points for k in (*p.labels, *p.overrides))
  )
  header = [*keys, "group", "name", "metric", "value", "ci95_low", "ci95_high"]
  rows = [
    [*((result.labels | result.overrides).get(k) for k in keys), *row]
    for result in done
    for row in _numbers(result.results)
  ]
  text = io.StringIO()
  csv.writer(text, lineterminator="\n").writerows([header, *rows])
  files.write_text(directory / "results.csv", text.getvalue())
  image, sentences = None, []
  rows = [row for row in rows if row[-4] == "mse_mean"]
  if sweep.curve and done:
    curve = registry.find("report.curves", sweep.curve)
    with matplotlib.rc_context(figures.STYLE):
      figure, sentences = curve.draw(done)
    image = page.save_figure(directory / "figure.png", figure)
    if hasattr(curve, "rows"):
      header, rows = curve.rows(done)
  html = sweep_page.render(
    title=sweep.title,
    sentences=sentences,
    image=image,
    states=[(p.name, *state(p)) for p in sweep.points],
    header=header,
    rows=rows,
  )
  files.write_text(directory / "sweep.html", html)


def _numbers(results: Mapping) -> Iterator[tuple]:
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
