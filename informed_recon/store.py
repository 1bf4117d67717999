"""Shadow stores: parameters of N models as chunk files with a manifest.

    manifest.json             rows, params, chunk_rows and what they belong to
    chunk-00000.npy           (chunk_rows, P) float32
    chunk-00000.sha256        written after its chunk: the chunk is complete

A chunk is complete when its digest file matches it. Everything else (a torn
file, a flipped byte, a chunk without digest) counts as missing and is trained
again.
"""

import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from informed_recon import files
from informed_recon.types import UserError

MANIFEST = "manifest.json"


def create(
  directory: pathlib.Path,
  *,
  rows: int,
  params: int,
  chunk_rows: int,
  about: Mapping[str, Any],
) -> dict:
  """Starts a store, or returns the manifest of the one that is there.

  Args:
    directory: folder of the store.
    rows: N, number of models.
    params: P, number of parameters.
    chunk_rows: models a chunk file; a store that is there keeps its own.
    about: what identifies the rows (config hash, data fingerprint, role ...).

  Raises:
    UserError: the folder holds a store of something else.
  """
  manifest = dict(
    format=1,
    rows=rows,
    params=params,
    chunk_rows=chunk_rows,
    about=dict(about),
  )
  path = directory / MANIFEST
  if not path.exists():
    files.write_json(path, manifest)
    return manifest
  found = files.read_json(path)
  identity = ("format", "rows", "params", "about")  # not how it is cut
  differs = [k for k in identity if found.get(k) != manifest[k]]
  if differs:
    raise UserError(
      f"{directory} is a store of something else: its {differs[0]} is "
      f"{found.get(differs[0])}, not {manifest[differs[0]]}; "
      "use another --workdir"
    )
  return found


def missing(directory: pathlib.Path) -> list[tuple[int, int, int]]:
  """Chunks still to be made, as (chunk, first row, end row)."""
  manifest = files.read_json(directory / MANIFEST)
  rows, size = manifest["rows"], manifest["chunk_rows"]
  chunks = [
    (i, start, min(start + size, rows))
    for i, start in enumerate(range(0, rows, size))
  ]
  return [c for c in chunks if not _complete(directory, c[0])]


def write_chunk(directory: pathlib.Path, chunk: int, rows: np.ndarray) -> None:
  """Writes one chunk, then its digest."""
  buffer = io.BytesIO()
  np.save(buffer, np.ascontiguousarray(rows, np.float32), allow_pickle=False)
  data = buffer.getbuffer()
  files.write(_chunk(directory, chunk), lambda f: f.write(data))
  digest = hashlib.sha256(data).hexdigest()
  files.write_text(_digest(directory, chunk), digest + "\n")


@dataclasses.dataclass(frozen=True)
class Rows:
  """Read-only view of a complete store, by memory map."""

  chunks: tuple[
    np.ndarray, ...
  ]  # (chunk_rows, P) each, the last may be shorter
  chunk_rows: int

  def __len__(self) -> int:
    return sum(map(len, self.chunks))

  @property
  def num_params(self) -> int:
    return self.chunks[0].shape[1]

  def gather(self, ids: np.ndarray) -> np.ndarray:
    """Rows (len(ids), P) float32 in the order of `ids`."""
    out = np.empty((len(ids), self.num_params), np.float32)
    chunk, row = np.divmod(ids, self.chunk_rows)
    for i in np.unique(chunk):
      here = chunk == i
      out[here] = self.chunks[i][row[here]]
    return out

  def all(self) -> np.ndarray:
    """Every row, in memory; for small stores."""
    return self.gather(np.arange(len(self)))


def open_rows(directory: pathlib.Path) -> Rows:
  """Opens a complete store.

  Raises:
    UserError: there is no store or a chunk is missing.
  """
  if not (directory / MANIFEST).exists():
    raise UserError(f"no shadow store in {directory}; run its training stage")
  manifest = files.read_json(directory / MANIFEST)
  count = -(-manifest["rows"] // manifest["chunk_rows"])
  paths = [_chunk(directory, i) for i in range(count)]
  absent = [
    path.name
    for i, path in enumerate(paths)
    if not (path.exists() and _digest(directory, i).exists())
  ]
  if absent:
    raise UserError(
      f"{directory} lacks {len(absent)} of {count} chunks "
      f"(first: {absent[0]}); run its training stage again"
    )
  chunks = tuple(np.load(p, mmap_mode="r", allow_pickle=False) for p in paths)
  return Rows(chunks, manifest["chunk_rows"])


def _chunk(directory: pathlib.Path, i: int) -> pathlib.Path:
  return directory / f"chunk-{i:05d}.npy"


def _digest(directory: pathlib.Path, i: int) -> pathlib.Path:
  return directory / f"chunk-{i:05d}.sha256"


def _complete(directory: pathlib.Path, i: int) -> bool:
  chunk, digest = _chunk(directory, i), _digest(directory, i)
  if not (chunk.exists() and digest.exists()):
    return False
  with open(chunk, "rb") as file:
    actual = hashlib.file_digest(file, "sha256").hexdigest()
  return actual.encode() == digest.read_bytes().strip()
