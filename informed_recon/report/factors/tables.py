"""The table of a sweep of factors as small files, one a factor.

Rows of a later launch, or of another machine, are added to those that are
there; the same point, seed and attack is replaced.
"""

import json
import pathlib
from collections.abc import Sequence

import pandas as pd

from informed_recon.report.curves import Result
from informed_recon.report.factors import effects
from informed_recon.storage import files

TARGET = ["seed", "record"]
TARGETS = "targets"  # file of the baseline's records, a row each
POINTS = "points.json"  # in a sweep's folder: what is done, by its labels


def read(folder: pathlib.Path) -> pd.DataFrame:
  """The rows of all files in a folder; none where there are none."""
  paths = sorted(folder.glob("*.csv")) if folder.is_dir() else []
  tables = [
    pd.read_csv(path, dtype=dict.fromkeys(effects.KEYS[:3], str)).fillna(
      dict.fromkeys(effects.KEYS[:3], "")
    )
    for path in paths
    if path.stem != TARGETS
  ]
  tables = [t for t in tables if list(t.columns) == effects.COLUMNS]
  empty = pd.DataFrame(columns=effects.COLUMNS)
  return pd.concat(tables, ignore_index=True) if tables else empty


def read_targets(folder: pathlib.Path) -> pd.DataFrame:
  """The baseline's records; no row where there is no such file."""
  path = folder / f"{TARGETS}.csv"
  return pd.read_csv(path) if path.is_file() else pd.DataFrame()


def of_sweep(workdir: pathlib.Path) -> pd.DataFrame:
  """The rows of the points of a sweep that are done."""
  done = json.loads((workdir / POINTS).read_text())
  return effects.frame(
    [
      Result({}, files.read_json(workdir / path), labels)
      for path, labels in done.items()
    ]
  )


def merged(
  old: pd.DataFrame, new: pd.DataFrame, keys: Sequence[str]
) -> pd.DataFrame:
  """Both, in the order of the new and then the old; of rows that agree in
  `keys` the new one."""
  both = [t for t in (new, old) if len(t)]
  if not both:
    return old
  joined = pd.concat(both, ignore_index=True)
  return joined.drop_duplicates(keys).reset_index(drop=True)


def write(folder: pathlib.Path, table: pd.DataFrame) -> None:
  """One file a factor, rows ordered by seed."""
  folder.mkdir(parents=True, exist_ok=True)
  for factor, rows in table.groupby("factor", sort=False):
    rows = rows.sort_values("seed", kind="stable")
    text = rows.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    files.write_text(folder / f"{file_name(factor)}.csv", text)


def file_name(factor: str) -> str:
  return "".join(c if c.isalnum() else "_" for c in factor).strip("_")


def targets_of_sweep(workdir: pathlib.Path) -> pd.DataFrame:
  """Of the baseline's points: seed, label, each attack's error and the oracle's
  of every target."""
  done = json.loads((workdir / POINTS).read_text())
  tables = [
    pd.read_csv((workdir / path).parent / "evaluation" / "per_target.csv")
    .sort_values("record")
    .assign(seed=labels["seed"])
    for path, labels in done.items()
    if labels.get("factor") == effects.BASELINE
  ]
  if not tables:
    return pd.DataFrame()
  joined = pd.concat(tables, ignore_index=True)
  errors = [c for c in joined if c.endswith("/mse")]
  return joined[[*TARGET, "label", *errors]]


def add(folder: pathlib.Path, workdir: pathlib.Path) -> None:
  """Adds a sweep's rows to the files of a folder."""
  write(folder, merged(read(folder), of_sweep(workdir), effects.KEYS))
  targets = merged(read_targets(folder), targets_of_sweep(workdir), TARGET)
  if len(targets):
    text = targets.sort_values(TARGET).to_csv(index=False, float_format="%.4g")
    files.write_text(folder / f"{TARGETS}.csv", text)
