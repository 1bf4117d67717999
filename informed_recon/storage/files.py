"""Files that are whole or not there at all, and that notice later damage.

An `.npz` carries checksums and its own name, a sealed JSON file the digest of
its content and its name: cut, flipped or swapped with another, they are
`Damaged`, and whoever can make them again does.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import secrets
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np

from informed_recon.types import UserError

SEAL = "sha256"  # key of a sealed JSON object's digest


class Damaged(UserError):
  """A file of a run is not what was written."""

  def __init__(self, path: pathlib.Path, why: Any):
    why = " ".join(str(why).split())[:200]
    super().__init__(
      f"{path} is damaged ({why}); put back a copy, or remove it and run the "
      "same command again"
    )


def make_folder(path: pathlib.Path) -> None:
  """Raises `UserError` where there can be none."""
  try:
    path.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(
      f"cannot make the folder {path}: {error.strerror}"
    ) from None


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
  """An uncompressed `.npz` whose bytes depend on the arrays and its name."""

  def put(file: BinaryIO) -> None:
    with zipfile.ZipFile(file, "w") as archive:
      archive.comment = _label(path).encode()
      for name, array in arrays.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as part:
          np.lib.format.write_array(
            part, np.asanyarray(array), allow_pickle=False
          )

  write(path, put)


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """Raises `Damaged`; files without a name, older than it, are taken."""
  try:
    with zipfile.ZipFile(path) as archive:
      label = archive.comment.decode()
    with np.load(path, allow_pickle=False) as file:
      arrays = dict(file)
  except (FileNotFoundError, PermissionError):
    raise
  except Exception as error:  # whatever zipfile and numpy make of garbage
    raise Damaged(path, error) from None
  if label and label != _label(path):
    raise Damaged(path, f"it is the file {label}")
  return arrays


def arrays_intact(path: pathlib.Path) -> bool:
  """Whether a file of arrays is there and undamaged."""
  try:
    return path.exists() and bool(read_arrays(path))
  except Damaged:
    return False


def read_json(path: pathlib.Path) -> Any:
  """Raises `Damaged` where it is no JSON."""
  try:
    return json.loads(path.read_bytes())
  except ValueError as error:
    raise Damaged(path, error) from None


def write_sealed(path: pathlib.Path, value: Mapping) -> None:
  """A JSON object with the digest of its content and name in it."""
  write_json(path, _sealed(path, value))


def write_new_sealed(path: pathlib.Path, value: Mapping) -> None:
  """The same unless the file is there: of many at once, one."""
  write_new_json(path, _sealed(path, value))


def read_sealed(path: pathlib.Path, strict: bool = False) -> dict:
  """Raises `Damaged`; unless `strict`, objects without a digest, older than
  it, are taken."""
  value = read_json(path)
  if not isinstance(value, dict):
    raise Damaged(path, "it holds no JSON object")
  seal = value.pop(SEAL, None)
  if seal != _digest(path, value) and (strict or seal is not None):
    raise Damaged(path, "its content does not match its digest")
  return value


def kept_sealed(path: pathlib.Path, make: Callable[[], Mapping]) -> dict:
  """What a sealed file holds; where it is not there or damaged, made again."""
  if path.exists():
    with contextlib.suppress(Damaged):
      return read_sealed(path, strict=True)
  write_sealed(path, make())
  return read_sealed(path)


def seal_folder(seal: pathlib.Path, folder: pathlib.Path, made_from: str = ""):
  """Notes in the file `seal` what a finished folder holds.

  Args:
    seal: the note, hidden or outside the folder.
    folder: whose files are noted.
    made_from: what else the folder depends on.
  """
  write_sealed(seal, dict(made_from=made_from, files=_listing(folder)))


def folder_intact(
  seal: pathlib.Path, folder: pathlib.Path, made_from: str = ""
) -> bool:
  """Whether a folder was finished, from the same, and is as it was."""
  if not seal.exists():
    return False
  try:
    noted = read_sealed(seal)
  except Damaged:
    return False
  return noted == dict(made_from=made_from, files=_listing(folder))


def _listing(folder: pathlib.Path) -> dict[str, str]:
  """File -> digest, but for hidden files."""
  return {
    path.relative_to(folder).as_posix(): digest(path)
    for path in sorted(folder.rglob("*"))
    if path.is_file() and not path.name.startswith(".")
  }


def digest(path: pathlib.Path) -> str:
  """SHA-256 of a file."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()


def _sealed(path: pathlib.Path, value: Mapping) -> dict:
  return {**value, SEAL: _digest(path, json.loads(_json(value)))}


def _digest(path: pathlib.Path, value: Mapping) -> str:
  text = json.dumps([path.name, value], sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def _label(path: pathlib.Path) -> str:
  """Name of a file within its run, which itself may be moved."""
  return f"{path.parent.name}/{path.name}"
