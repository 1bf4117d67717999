"""Shadow stores: whole chunks only, read by memory map."""

import hashlib
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from informed_recon.storage import store
from informed_recon.storage.store import Rows, Store
from informed_recon.types import UserError

ROWS, PARAMS, CHUNK = 10, 3, 4
ABOUT = dict(models="shadow", config="c0ffee")


def _create(directory, **changes):
  settings = dict(rows=ROWS, params=PARAMS, chunk_rows=CHUNK, about=ABOUT)
  force = changes.pop("force", False)
  return store.create(directory, Store(**settings | changes), force)


def _missing(directory, rows=None):
  """(first row, end row) of what is to be made."""
  return [(c.start, c.end) for c in store.missing(directory, rows)]


@pytest.fixture
def values():
  rng = np.random.default_rng(0)
  return rng.normal(size=(ROWS, PARAMS)).astype(np.float32)


@pytest.fixture
def filled(tmp_path, values):
  _create(tmp_path)
  _fill(tmp_path, values)
  return tmp_path


def _fill(directory, values):
  for chunk in store.missing(directory):
    store.write_chunk(chunk, values[chunk.start : chunk.end])


def test_round_trip_by_memory_map(filled, values):
  assert store.missing(filled) == []
  rows = store.open_rows(filled)
  assert len(rows) == ROWS and rows.num_params == PARAMS
  assert [len(c) for c in rows.chunks] == [4, 4, 2]
  assert all(isinstance(c, np.memmap) for c in rows.chunks)
  assert not any(c.flags.writeable for c in rows.chunks)
  np.testing.assert_array_equal(rows.all(), values)
  assert rows.all().dtype == np.float32


def test_missing_lists_chunks_with_their_rows(tmp_path, values):
  _create(tmp_path)
  assert _missing(tmp_path) == [(0, 4), (4, 8), (8, 10)]
  store.write_chunk(store.chunks(tmp_path)[1], values[4:8])
  assert _missing(tmp_path) == [(0, 4), (8, 10)]


@given(
  st.lists(st.integers(0, ROWS - 1), max_size=30), st.integers(1, ROWS + 1)
)
def test_gather_is_plain_indexing(ids, chunk_rows):
  values = np.arange(ROWS * PARAMS, dtype=np.float32).reshape(ROWS, PARAMS)
  starts = range(0, ROWS, chunk_rows)
  rows = Rows(tuple(values[s : s + chunk_rows] for s in starts), chunk_rows)
  ids = np.array(ids, np.int64)
  np.testing.assert_array_equal(rows.gather(ids), values[ids])


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-2])  # a digest's last is a newline


def _flip(path):
  data = bytearray(path.read_bytes())
  data[-1] ^= 0x80
  path.write_bytes(data)


def _flip_first(path):
  data = bytearray(path.read_bytes())
  data[0] ^= 0xFF  # no UTF-8 any more
  path.write_bytes(data)


def _empty(path):
  path.write_bytes(b"")


@pytest.mark.parametrize("kind", ["npy", "sha256"])
@pytest.mark.parametrize(
  "damage", [_truncate, _flip, _flip_first, _empty, lambda p: p.unlink()]
)
def test_a_damaged_chunk_counts_as_missing(filled, values, damage, kind):
  damage(filled / f"chunk-00001.{kind}")
  assert _missing(filled) == [(4, 8)]
  store.write_chunk(store.chunks(filled)[1], values[4:8])
  assert store.missing(filled) == []
  np.testing.assert_array_equal(store.open_rows(filled).all(), values)


def test_a_chunk_is_written_before_its_digest(tmp_path, values, monkeypatch):
  """A kill in between must leave a chunk that counts as missing."""
  _create(tmp_path, rows=CHUNK)

  def killed(path, text):
    raise KeyboardInterrupt

  monkeypatch.setattr(store.files, "write_text", killed)
  with pytest.raises(KeyboardInterrupt):
    store.write_chunk(store.chunks(tmp_path)[0], values[:CHUNK])
  assert (tmp_path / "chunk-00000.npy").exists()
  assert _missing(tmp_path) == [(0, CHUNK)]


def test_equal_rows_make_equal_bytes(filled, values, tmp_path_factory):
  other = tmp_path_factory.mktemp("other")
  _create(other)
  # Another dtype and memory order in, the same file out.
  store.write_chunk(
    store.chunks(other)[0], np.asfortranarray(values[:4].astype(float))
  )
  first, second = (d / "chunk-00000.npy" for d in (filled, other))
  assert first.read_bytes() == second.read_bytes()
  digest = hashlib.sha256(first.read_bytes()).hexdigest()
  assert (filled / "chunk-00000.sha256").read_text() == digest + "\n"


LATER = dict(ABOUT, config="facade")
SETTINGS = {"training.steps": 5, "seed": 0}
CODE = dict(sources="aaaa", jax="1", device="cpu", informed_recon="1")


@pytest.mark.parametrize(
  "change, differs",
  [
    (dict(params=4), r"its params is 3, not 4"),
    (dict(about=LATER), r"another config \(c0ffee there, facade here\)"),
    (
      dict(about=LATER, settings=SETTINGS | {"seed": 1}),
      r"another seed \(0 there, 1 here\)",
    ),
    (
      dict(code=CODE | dict(sources="bbbb")),
      r"another sources \(aaaa there, bbbb here\)",
    ),
  ],
)
def test_a_store_of_something_else_is_refused(
  tmp_path, values, change, differs
):
  own = dict(settings=SETTINGS, code=CODE)
  _create(tmp_path, **own)
  _fill(tmp_path, values)
  before = (tmp_path / "manifest.json").read_bytes()
  with pytest.raises(UserError, match=f"store of something else.*{differs}"):
    _create(tmp_path, **own | change)
  assert (tmp_path / "manifest.json").read_bytes() == before
  assert _create(tmp_path, **own)["rows"] == ROWS  # its own is not

  if "params" in change:  # what cannot serve cannot be forced
    with pytest.raises(UserError, match="is a store of something else"):
      _create(tmp_path, **own | change, force=True)
  else:
    for _ in range(2):
      noted = _create(tmp_path, **own | change, force=True)["forced"]
      assert len(noted) == 1 and noted[0].split(" (")[0] in differs


@pytest.mark.parametrize("changed", ["jax", "device"])
def test_compiler_and_device_matter_while_there_is_something_to_train(
  tmp_path, values, changed
):
  _create(tmp_path, code=CODE)
  other = dict(code=CODE | {changed: "other"})
  with pytest.raises(UserError, match=f"another {changed} "):
    _create(tmp_path, **other)
  _fill(tmp_path, values)
  assert "forced" not in _create(tmp_path, **other)
  # The release is told, not asked for: what it changed is in the sources.
  (tmp_path / "chunk-00000.npy").unlink()
  _create(tmp_path, code=CODE | dict(informed_recon="2"))


def test_the_first_rows_of_a_store_serve_as_well(filled, values):
  assert _create(filled, rows=5)["rows"] == ROWS
  assert [(c.start, c.end) for c in store.chunks(filled, 5)] == [(0, 4), (4, 8)]
  rows = store.open_rows(filled, 5)
  np.testing.assert_array_equal(rows.all(), values[:5])
  (filled / "chunk-00002.npy").unlink()  # beyond the first five
  assert _missing(filled, 5) == [] and _missing(filled) == [(8, 10)]
  assert len(store.open_rows(filled, 8)) == 8
  with pytest.raises(UserError, match="lacks 1 of 3 chunks"):
    store.open_rows(filled, 9)
  with pytest.raises(UserError, match="holds 10 models, 11 are asked for"):
    _create(filled, rows=11, force=True)


def test_of_many_that_create_a_store_one_does(tmp_path):
  barrier, found = threading.Barrier(8), []

  def create(chunk_rows):
    barrier.wait()
    found.append(_create(tmp_path, chunk_rows=chunk_rows)["chunk_rows"])

  threads = [threading.Thread(target=create, args=(i,)) for i in range(1, 9)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert len(found) == 8 and len(set(found)) == 1
  assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_a_damaged_manifest_is_named(filled):
  (filled / "manifest.json").write_text('{"rows": 1')
  with pytest.raises(UserError, match="manifest.json is damaged"):
    _create(filled)


def test_a_store_keeps_its_chunk_size(filled, values):
  """Chunk size is `perf`: another one is no other experiment."""
  assert _create(filled, chunk_rows=CHUNK + 1)["chunk_rows"] == CHUNK
  assert store.missing(filled) == []


@pytest.mark.parametrize("kind", ["npy", "sha256"])
def test_an_incomplete_store_does_not_open(filled, kind):
  (filled / f"chunk-00002.{kind}").unlink()
  message = r"lacks 1 of 3 chunks \(first: chunk-00002"
  with pytest.raises(UserError, match=message):
    store.open_rows(filled)


def test_no_store_at_all(tmp_path):
  with pytest.raises(UserError, match="no shadow store in"):
    store.open_rows(tmp_path)
