"""Files that are whole or not there at all."""

import contextlib
import json
import os
import pathlib
import secrets
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np


def write(path: pathlib.Path, put: Callable[[BinaryIO], Any]) -> None:
  """Writes through a temporary name in the same folder, synced, renamed."""
  _write(path, put, os.replace)


def write_new_json(path: pathlib.Path, value: Any) -> None:
  """Writes unless the file is there: of many at once, one."""
  if not path.exists():
    text = _json(value).encode()
    with contextlib.suppress(FileExistsError):
      # Unlike a rename, a link replaces nothing.
      _write(path, lambda f: f.write(text), os.link)


def _write(path: pathlib.Path, put: Callable, place: Callable) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  # Random: two machines may have processes of one number.
  temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
  try:
    with open(temporary, "wb") as file:
      put(file)
      file.flush()
      os.fsync(file.fileno())
    place(temporary, path)
  finally:
    temporary.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
  write(path, lambda f: f.write(text.encode()))


def write_json(path: pathlib.Path, value: Any) -> None:
  write_text(path, _json(value))


def _json(value: Any) -> str:
  return json.dumps(value, indent=2) + "\n"


def write_arrays(path: pathlib.Path, **arrays: np.ndarray) -> None:
  """An uncompressed `.npz` whose bytes depend on the arrays alone."""
  write(path, lambda f: np.savez(f, **arrays))


def read_json(path: pathlib.Path) -> Any:
  return json.loads(path.read_text())


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as file:
    return dict(file)
