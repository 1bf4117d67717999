"""Filling a store: each chunk once, in turns, and an error ends it."""

import threading

import numpy as np
import pytest

from informed_recon.storage import claims, store
from informed_recon.storage.fill import fill

ROWS, PARAMS, CHUNK = 10, 3, 4
VALUES = np.arange(ROWS * PARAMS, dtype=np.float32).reshape(ROWS, PARAMS)


@pytest.fixture
def chunks(tmp_path):
  store.create(tmp_path, store.Store(ROWS, PARAMS, CHUNK, dict(models="x")))
  return store.chunks(tmp_path)


def _blocks(chunk):
  """A chunk's rows, two at a time."""
  for start in range(chunk.start, chunk.end, 2):
    yield VALUES[start : min(start + 2, chunk.end)]


def test_every_chunk_is_produced_once_and_in_turn(chunks):
  busy, produced, seen, written = threading.Lock(), [], [], []

  def produce(chunk):
    assert busy.acquire(blocking=False)  # never two at a time
    produced.append(chunk.start)
    yield from _blocks(chunk)
    busy.release()

  fill(chunks, produce, first=1, progress=seen.append, written=written.append)
  assert produced[0] == 4 and sorted(produced) == [0, 4, 8]
  assert sorted(written) == [0, 1, 2]
  assert seen[0] == 0 and max(seen) == ROWS
  rows = store.open_rows(chunks[0].path.parent).all()
  np.testing.assert_array_equal(rows, VALUES)


def test_a_chunk_is_written_while_the_next_is_produced(chunks, monkeypatch):
  next_began, write = threading.Event(), store.write_chunk

  def wait_and_write(chunk, rows):
    if chunk is chunks[0]:
      assert next_began.wait(10)
    write(chunk, rows)

  def produce(chunk):
    if chunk is chunks[1]:
      next_began.set()
    return _blocks(chunk)

  monkeypatch.setattr(store, "write_chunk", wait_and_write)
  fill(chunks, produce)
  assert not store.missing(chunks[0].path.parent)


def test_what_is_done_is_not_done_again_unless_suspected(chunks):
  fill(chunks, _blocks)
  chunks[1].path.write_bytes(b"torn")
  produced = []

  def produce(chunk):
    produced.append(chunk)
    return _blocks(chunk)

  fill(chunks, produce)
  assert not produced  # it looks finished
  fill(chunks, produce, suspects={chunks[0].path, chunks[1].path})
  assert produced == [chunks[1]] and chunks[1].intact()


@pytest.mark.parametrize("where", ["produce", "write"])
def test_an_error_ends_both_threads_and_keeps_what_is_written(
  chunks, monkeypatch, where
):
  write = store.write_chunk

  def fail(chunk, rows):
    if where == "write" and chunk is chunks[1]:
      raise OSError("disk full")
    write(chunk, rows)

  def produce(chunk):
    if where == "produce" and chunk is chunks[1]:
      raise ValueError("diverged")
    return _blocks(chunk)

  monkeypatch.setattr(store, "write_chunk", fail)
  with pytest.raises((OSError, ValueError), match="disk full|diverged"):
    fill(chunks, produce)
  assert not chunks[1].marked() and not claims.alive(chunks[1].path)
  monkeypatch.undo()
  fill(chunks, _blocks)
  assert not store.missing(chunks[0].path.parent)


def test_an_error_interrupts_the_chunk_of_the_other_thread(chunks, monkeypatch):
  """A writer's error reaches the producer between two blocks."""
  producing, yielded = threading.Event(), []

  def fail(chunk, rows):
    assert producing.wait(10)
    raise OSError("disk full")

  def produce(chunk):
    for block in _blocks(chunk):
      yielded.append(chunk)
      yield block
    while chunk is chunks[1] and len(yielded) < 1000:  # until it is stopped
      producing.set()
      threading.Event().wait(0.01)
      yielded.append(chunk)
      yield VALUES[:0]

  monkeypatch.setattr(store, "write_chunk", fail)
  with pytest.raises(OSError, match="disk full"):
    fill(chunks, produce)
  assert len(yielded) < 1000
