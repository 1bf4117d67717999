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
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from informed_recon.storage import files
from informed_recon.types import UserError

MANIFEST = "manifest.json"
# Of a store's `code`, what must not change while there is something to train.
NUMERICS = ("jax", "jaxlib", "device", "products", "settings")


class Store(NamedTuple):
  """What a store holds, and what that depends on."""

  rows: int  # N, number of models
  params: int  # P, number of parameters
  chunk_rows: int  # models a chunk file
  about: Mapping[str, str]  # what the rows are: role, hashes of config and data
  settings: Mapping[str, Any] = {}  # the config behind its hash, to tell apart
  # What else decides the bits: `sources` of the training code, and the
  # compiler, device and kind of product, which matter while there is something
  # to train.
  code: Mapping[str, str] = {}


def create(directory: pathlib.Path, store: Store, force: bool = False) -> dict:
  """Starts a store, or returns the manifest of the one that is there.

  The first `store.rows` models of a larger store serve as well, and a store
  that is there keeps its own chunk size. Any number may create it at once.

  Raises:
    UserError: the folder holds a store of something else. `force` takes it
      nevertheless, and notes that in its manifest, unless it cannot serve.
  """
  asked = dict(format=2, ids=[0, store.rows], **store._asdict())
  files.write_new_sealed(directory / MANIFEST, asked)
  found = manifest(directory)
  for name in ("format", "params"):
    if found.get(name) != asked[name]:
      raise UserError(
        f"{directory} is a store of something else: its {name} is "
        f"{found.get(name)}, not {asked[name]} (says {MANIFEST}); use another "
        "--workdir"
      )
  if found["rows"] < store.rows:
    raise UserError(
      f"{directory} holds {found['rows']} models, {store.rows} are asked for; "
      "use another --workdir, or train the largest set first"
    )
  differs = _differences(directory, found, store)
  if differs and not force:
    raise UserError(
      f"{directory} is a store of something else, made with another "
      f"{', '.join(differs[:3])} (says {MANIFEST}); use another --workdir, or "
      "--force to take it as it is"
    )
  news = sorted(set(differs) - set(found.get("forced", ())))
  if news:
    found["forced"] = found.get("forced", []) + news
    files.write_sealed(directory / MANIFEST, found)
  return found


def _differences(directory: pathlib.Path, found: dict, store: Store) -> list:
  """What another store was made with, as "key (there, here)"."""

  def differs(name: str, keys: Iterable[str] = ()) -> list[str]:
    there, here = found[name], getattr(store, name)
    return [
      f"{key} ({there.get(key)} there, {here.get(key)} here)"
      for key in sorted(keys or there.keys() | here.keys())
      if there.get(key) != here.get(key)
    ]

  about = differs("about")
  if about:
    # A key that was added since is told by the hash alone.
    return differs("settings") + differs("about", ("models", "data")) or about
  code = differs("code", ("sources",))
  # A complete store may be read anywhere; nothing is mixed.
  if not code and missing(directory, store.rows):
    code = differs("code", NUMERICS)
  return code


def manifest(directory: pathlib.Path) -> dict:
  """Raises UserError where there is none, or none that can be read."""
  path = directory / MANIFEST
  if not path.exists():
    raise UserError(f"no shadow store in {directory}; run its training stage")
  try:
    found = files.read_sealed(path)
    if {"rows", "params", "chunk_rows", "about"} <= found.keys():
      return found
  except files.Damaged:
    pass
  raise UserError(
    f"{path} is damaged; put back a copy, or remove the store and train again"
  )


class Chunk(NamedTuple):
  """One chunk file and the rows [start, end) it holds."""

  path: pathlib.Path  # .npy; the digest lies beside it as .sha256
  start: int
  end: int

  @property
  def digest(self) -> pathlib.Path:
    return self.path.with_suffix(".sha256")

  def marked(self) -> bool:
    """Whether it was finished once; cheap, and blind to later damage."""
    return self.digest.exists() and self.path.exists()

  def intact(self) -> bool:
    """Whether it was finished and is what was written."""
    if not self.marked():
      return False
    with open(self.path, "rb") as file:
      actual = hashlib.file_digest(file, "sha256").hexdigest()
    return actual.encode() == self.digest.read_bytes().strip()


def chunks(directory: pathlib.Path, rows: int | None = None) -> list[Chunk]:
  """The chunks that hold the first `rows` models, or all."""
  found = manifest(directory)
  total, size = found["rows"], found["chunk_rows"]
  return [
    Chunk(directory / f"chunk-{i:05d}.npy", start, min(start + size, total))
    for i, start in enumerate(range(0, total if rows is None else rows, size))
  ]


def marked(among: Sequence[Chunk]) -> set[Chunk]:
  """Those that were finished once, by one listing of their folder."""
  names = set(os.listdir(among[0].path.parent))
  return {c for c in among if {c.path.name, c.digest.name} <= names}


def missing(directory: pathlib.Path, rows: int | None = None) -> list[Chunk]:
  """Chunks of the first `rows` models that are still to be made, or again."""
  return [c for c in chunks(directory, rows) if not c.intact()]


def discard(chunk: Chunk) -> None:
  """Removes what there is of a chunk, unfinished files too; for its holder."""
  chunk.digest.unlink(missing_ok=True)
  chunk.path.unlink(missing_ok=True)
  for unfinished in chunk.path.parent.glob(f".{chunk.path.stem}.*.tmp"):
    unfinished.unlink(missing_ok=True)


def write_chunk(chunk: Chunk, rows: np.ndarray) -> None:
  """Writes one chunk, then its digest."""
  buffer = io.BytesIO()
  np.save(buffer, np.ascontiguousarray(rows, np.float32), allow_pickle=False)
  data = buffer.getbuffer()
  files.write(chunk.path, lambda f: f.write(data))
  digest = hashlib.sha256(data).hexdigest()
  files.write_text(chunk.digest, digest + "\n")


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


def open_rows(directory: pathlib.Path, rows: int | None = None) -> Rows:
  """Opens the first `rows` models of a store, or all.

  Raises:
    UserError: there is no store or a chunk is missing.
  """
  wanted = chunks(directory, rows)
  absent = [chunk.path.name for chunk in wanted if not chunk.marked()]
  if absent:
    raise UserError(
      f"{directory} lacks {len(absent)} of {len(wanted)} chunks "
      f"(first: {absent[0]}); run its training stage again"
    )
  maps = [np.load(c.path, mmap_mode="r", allow_pickle=False) for c in wanted]
  if rows is not None:
    maps[-1] = maps[-1][: rows - wanted[-1].start]
  return Rows(tuple(maps), manifest(directory)["chunk_rows"])
