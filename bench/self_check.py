"""How well an attack's own signs tell its right answers from others.

python -m bench.self_check --workdir=runs/reach [--attack=stationarity]
  [--right=0.001] [--keep=FILE]

Over all targets of all points of a sweep that are done, pooled: the area under
the ROC curve with which the residual, and the error that the attack states,
rank the answers with an MSE of at most `--right` before the others, with
bootstrap intervals over targets. One JSON object for each point, the last for
all. `--keep` names a CSV file for the targets themselves.
"""

import csv
import json
import pathlib

import numpy as np
from absl import app, flags
from scipy import stats
from sklearn import metrics

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of a sweep")
_ATTACK = flags.DEFINE_string("attack", "stationarity", "its name")
_RIGHT = flags.DEFINE_float("right", 1e-3, "MSE of a right answer, at most")
_KEEP = flags.DEFINE_string("keep", "", "file for the targets")
COLUMNS = ("mse", "residual", "error", "identifiable")


def main(argv):
  del argv
  points = pathlib.Path(_WORKDIR.value) / "points"
  pattern = "*/evaluation/per_target.csv"
  found = {p.parts[-3]: read(p) for p in sorted(points.glob(pattern))}
  for name, rows in found.items():
    print(json.dumps(dict(point=name) | summary(rows)))
  if not found:
    raise SystemExit(f"{points} has no point that is done")
  together = np.concatenate(list(found.values()))
  print(json.dumps(dict(point="all") | summary(together, interval=True)))
  if _KEEP.value:
    with open(_KEEP.value, "w", newline="") as file:
      out = csv.writer(file, lineterminator="\n")
      out.writerow(["point", *COLUMNS])
      for name, rows in found.items():
        out.writerows([name, *(f"{v:.6g}" for v in row)] for row in rows)


def read(path: pathlib.Path) -> np.ndarray:
  """(M, 4) of a point's targets: `COLUMNS`."""
  names = [f"{_ATTACK.value}/{column}" for column in COLUMNS]
  with path.open() as file:
    table = csv.DictReader(file)
    if missing := set(names) - set(table.fieldnames or ()):
      raise SystemExit(f"{path} has no column {min(missing)!r}; see --attack")
    return np.array([[_number(row[name]) for name in names] for row in table])


def _number(text: str) -> float:
  return float({"True": "1", "False": "0", "": "nan"}.get(text, text))


def summary(rows: np.ndarray, interval: bool = False) -> dict:
  mse, residual, error, vouched = rows.T
  right = mse <= _RIGHT.value
  out = dict(
    targets=len(rows),
    right=int(right.sum()),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((~right & (vouched > 0)).sum()),
    mse_median=float(np.median(mse)),
    stated_over_true=float(np.median(error**2 / mse)),
  )
  if not 0 < right.sum() < len(right):
    return out
  for name, sign in dict(residual=residual, stated=error).items():
    # What says nothing counts as bad.
    sign = np.where(np.isfinite(sign), sign, np.inf).clip(max=1e300)

    def area(right, sign):
      return metrics.roc_auc_score(right, -sign)

    out[f"auc_{name}"] = float(area(right, sign))
    if interval:
      ends = stats.bootstrap(
        (right, sign),
        area,
        paired=True,
        vectorized=False,
        n_resamples=1000,
        method="percentile",
        rng=np.random.default_rng(0),
      ).confidence_interval
      out[f"auc_{name}_ci95"] = [float(ends.low), float(ends.high)]
  return out


if __name__ == "__main__":
  flags.mark_flag_as_required("workdir")
  app.run(main)
