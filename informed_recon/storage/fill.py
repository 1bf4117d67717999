"""Fills the chunks of a store, beside whoever else does."""

import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent import futures

import numpy as np

from informed_recon.storage import claims, store

THREADS = 2  # one writes its chunk while the other produces the next


def fill(
  chunks: Sequence[store.Chunk],
  produce: Callable[[store.Chunk], Iterable[np.ndarray]],
  *,
  suspects: Set[pathlib.Path] = frozenset(),
  first: int = 0,
  progress: Callable[[int], None] = lambda rows: None,
  written: Callable[[int], None] = lambda i: None,
) -> None:
  """Returns when all chunks are finished, by this process or by others.

  Each chunk is produced and written under its claim (`claims.each`). Two
  threads take turns: `produce` never runs twice at a time, and a chunk is
  written while the next one is produced. An error in `produce` or in a write
  ends both threads and is raised here; chunks that are written stay.

  Args:
    chunks: of one store.
    produce: chunk -> its rows in order, in blocks (m, P) float32.
    suspects: paths of chunks that count as finished only after they were read.
    first: index of the chunk to begin with.
    progress: told how many rows are finished or produced, in all.
    written: told the index of each chunk that this process has written.
  """
  ours = set()  # chunks this process has produced; they may not be written yet
  turn, over = threading.Lock(), threading.Event()
  rows = 0

  def done(i: int) -> bool:
    chunk = chunks[i]
    found = chunk.intact if chunk.path in suspects else chunk.marked
    return over.is_set() or i in ours or found()

  def undone() -> list[int]:
    nonlocal rows
    if over.is_set():
      return []
    marked = store.marked(chunks)
    left = [
      i
      for i, chunk in enumerate(chunks)
      if i not in ours
      and not (
        chunk in marked and (chunk.path not in suspects or chunk.intact())
      )
    ]
    rows = chunks[-1].end - sum(chunks[i].end - chunks[i].start for i in left)
    progress(rows)
    return left

  def blocks(chunk: store.Chunk) -> Iterable[np.ndarray]:
    nonlocal rows
    for block in produce(chunk):
      if over.is_set():
        raise futures.CancelledError
      yield block
      rows += len(block)
      progress(rows)

  def work() -> None:
    mine = claims.each([c.path for c in chunks], done, undone, first)
    with contextlib.closing(mine):
      while True:
        with turn:
          i = next(mine, None)  # lets go of the last one, which is written
          if i is None:
            return
          store.discard(chunks[i])  # what a killed holder left of it
          whole = np.concatenate(list(blocks(chunks[i])))
          ours.add(i)
        store.write_chunk(chunks[i], whole)
        written(i)

  with futures.ThreadPoolExecutor(THREADS) as threads:
    try:
      ends = [threads.submit(work) for _ in range(THREADS)]
      for end in futures.as_completed(ends):
        end.result()
    finally:
      over.set()
