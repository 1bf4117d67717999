"""Files that are whole or not there at all."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np


def write(path: pathlib.Path, put: Callable[[BinaryIO], Any]) -> None:
  """Writes through a temporary name in the same folder, synced, renamed."""
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
  try:
    with open(temporary, "wb") as file:
      put(file)
      file.flush()
      os.fsync(file.fileno())
    os.replace(temporary, path)
  except BaseException:
    temporary.unlink(missing_ok=True)
    raise


def write_text(path: pathlib.Path, text: str) -> None:
  write(path, lambda f: f.write(text.encode()))


def write_json(path: pathlib.Path, value: Any) -> None:
  write_text(path, json.dumps(value, indent=2) + "\n")


def write_arrays(path: pathlib.Path, **arrays: np.ndarray) -> None:
  """An uncompressed `.npz` whose bytes depend on the arrays alone."""
  write(path, lambda f: np.savez(f, **arrays))


def read_json(path: pathlib.Path) -> Any:
  return json.loads(path.read_text())


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return dict(file)
