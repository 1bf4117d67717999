"""Looks after stores: what is damaged, what is left over, what is there."""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from informed_recon.storage import claims, store
from informed_recon.storage.store import Chunk
from informed_recon.types import UserError


class Check(NamedTuple):
  """What one reading of a whole store found."""

  intact: list[Chunk]
  missing: list[Chunk]  # not trained yet
  damaged: list[Chunk]  # torn, truncated or flipped
  left: list[pathlib.Path]  # unfinished files of processes that are gone


def stores(directory: pathlib.Path) -> list[pathlib.Path]:
  """The store in a folder, or all of a run or sweep.

  Raises:
    UserError: there is none.
  """
  found = sorted(p.parent for p in directory.rglob(store.MANIFEST))
  if not found:
    raise UserError(f"no store of models in {directory}")
  return found


def verify(directory: pathlib.Path) -> Check:
  """Reads every byte of a store and changes nothing."""
  chunks = store.chunks(directory)
  intact, missing, damaged = [], [], []
  for chunk in chunks:
    if chunk.intact():
      intact.append(chunk)
    elif chunk.path.exists() or chunk.digest.exists():
      # A chunk is there before its digest: its writer may be at it.
      at_work = claims.alive(chunk.path)
      (missing if at_work else damaged).append(chunk)
    else:
      missing.append(chunk)
  return Check(intact, missing, damaged, list(_left(directory)))


def repair(directory: pathlib.Path) -> Check:
  """Removes what `verify` finds damaged or left over; what is removed is
  trained by the next run. Safe beside runs at work. Returns what was found."""
  found = verify(directory)
  for chunk in found.damaged:
    with claims.hold(chunk.path) as mine:
      if mine and not chunk.intact():
        store.discard(chunk)
  remove_leftovers(directory)
  return found


def remove_leftovers(directory: pathlib.Path) -> None:
  """Removes what processes that are gone have left over."""
  for path in _left(directory):
    path.unlink(missing_ok=True)


def stats(directory: pathlib.Path) -> dict:
  """Size and origin of a store, by its files' names alone."""
  manifest, chunks = store.manifest(directory), store.chunks(directory)
  done = [chunk for chunk in chunks if chunk.marked()]
  names = [p for p in directory.iterdir() if p.is_file()]
  return dict(
    rows=f"{sum(c.end - c.start for c in done)} of {manifest['rows']}",
    parameters=manifest["params"],
    chunks=f"{len(done)} of {len(chunks)}",
    at_work=sum(claims.alive(c.path) for c in chunks if not c.marked()),
    files=len(names),
    mebibytes=round(sum(p.stat().st_size for p in names) / 2**20, 1),
    **manifest["about"],
    **{f"code {k}": v for k, v in manifest["code"].items()},
    forced="; ".join(manifest.get("forced", [])) or "no",
  )


def _left(directory: pathlib.Path) -> Iterator[pathlib.Path]:
  """Unfinished files nobody has written to for long."""
  for path in directory.glob(".*.tmp"):
    if claims.forgotten(path):
      yield path
  for path in directory.glob(".*.claim*"):
    piece = path.name[1:].rpartition(".claim")[0]
    if not claims.alive(path.with_name(piece)):
      yield path
