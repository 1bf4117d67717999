"""`attacks/NAME.npz`, what an attack of a run answers: read and written here.

The file holds the fields of `types.Answers` that the attack has something to
say about, and which kind of stage made them.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from informed_recon.storage import files
from informed_recon.types import Answers

FOLDER = "attacks"


class Attack(NamedTuple):
  """The answers of one attack and where they came from."""

  kind: str  # file name of the stage that made them, such as "convex"
  answers: Answers
  cost_unit: str = ""  # of `answers.cost`, such as "training_passes"


def path(workdir: pathlib.Path, name: str) -> pathlib.Path:
  return workdir / FOLDER / f"{name}.npz"


def write(workdir: pathlib.Path, name: str, attack: Attack) -> None:
  """Writes the answers of the attack `name`."""
  said = {
    field: np.asarray(value)
    for field, value in attack.answers._asdict().items()
    if value is not None
  }
  files.write_arrays(
    path(workdir, name),
    **said,
    kind=np.array(attack.kind),
    cost_unit=np.array(attack.cost_unit),
  )


def read(workdir: pathlib.Path, name: str) -> Attack:
  """The answers of the attack `name`.

  Raises:
    UserError: the file is damaged.
  """
  arrays = files.read_arrays(path(workdir, name))
  # Runs older than these two fields have neither.
  kind, unit = (str(arrays.pop(k, "")) for k in ("kind", "cost_unit"))
  said = {k: v for k, v in arrays.items() if k in Answers._fields}
  return Attack(kind, Answers(**said), unit)


def intact(workdir: pathlib.Path, name: str) -> bool:
  """Whether the attack `name` has answered, and its file is undamaged."""
  try:
    return path(workdir, name).exists() and bool(read(workdir, name))
  except files.Damaged:
    return False


def read_all(workdir: pathlib.Path) -> dict[str, Attack]:
  """Every attack of a run by name, in order of the names."""
  found = sorted((workdir / FOLDER).glob("*.npz"))
  return {p.stem: read(workdir, p.stem) for p in found}
