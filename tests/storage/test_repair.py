"""Upkeep of stores: damage is found and removed, nothing else is."""

import os

import numpy as np
import pytest

from informed_recon.storage import claims, repair, store
from informed_recon.storage.store import Store
from informed_recon.types import UserError
from launch import store as launch_store


@pytest.fixture
def filled(tmp_path):
  directory = tmp_path / "run/shadow"
  store.create(directory, Store(10, 3, 4, dict(models="shadow", config="c")))
  values = np.arange(30, dtype=np.float32).reshape(10, 3)
  for chunk in store.chunks(directory):
    store.write_chunk(chunk, values[chunk.start : chunk.end])
  return directory


def _flip(path):
  data = bytearray(path.read_bytes())
  data[-3] ^= 4
  path.write_bytes(data)


def _old(path):
  touched = path.stat().st_mtime - 2 * claims.STALE
  os.utime(path, (touched, touched))


def _names(chunks):
  return [chunk.path.name for chunk in chunks]


def test_a_whole_store(filled):
  found = repair.verify(filled)
  assert len(found.intact) == 3 and found[1:] == ([], [], [])


@pytest.mark.parametrize(
  "damage",
  [
    lambda d: _flip(d / "chunk-00001.npy"),
    lambda d: (d / "chunk-00001.npy").write_bytes(b"torn"),
    lambda d: (d / "chunk-00001.npy").unlink(),
    lambda d: (d / "chunk-00001.sha256").unlink(),
    lambda d: _flip(d / "chunk-00001.sha256"),
  ],
)
def test_damage_is_found_and_removed(filled, damage):
  before = {p: p.read_bytes() for p in filled.iterdir()}
  damage(filled)
  found = repair.verify(filled)
  assert _names(found.damaged) == ["chunk-00001.npy"]
  assert len(found.intact) == 2 and not found.missing
  assert repair.repair(filled) == found
  after = {p: p.read_bytes() for p in filled.iterdir()}
  gone = before.keys() - after.keys()
  assert {p.stem for p in gone} == {"chunk-00001"} and len(gone) == 2
  assert all(before[p] == after[p] for p in after)
  assert _names(repair.verify(filled).missing) == ["chunk-00001.npy"]


def test_what_a_living_process_is_writing_is_left_alone(filled):
  chunk = store.chunks(filled)[1]
  chunk.digest.unlink()
  (filled / ".chunk-00001.sha256.ab.tmp").touch()
  before = {p.name for p in filled.iterdir()}
  with claims.hold(chunk.path):
    assert repair.repair(filled).damaged == []
    assert {p.name for p in filled.iterdir()} >= before


def test_what_the_dead_left_is_swept_up(filled):
  before = {p.name for p in filled.iterdir()}
  for name in (".chunk-00001.npy.ab12.tmp", ".chunk-00001.npy.claim0"):
    (filled / name).write_text("")
    _old(filled / name)
  assert len(repair.verify(filled).left) == 2
  repair.repair(filled)
  assert {p.name for p in filled.iterdir()} == before


def test_stats(filled):
  store.discard(store.chunks(filled)[2])
  found = repair.stats(filled)
  assert found["rows"] == "8 of 10" and found["chunks"] == "2 of 3"
  assert found["config"] == "c" and found["forced"] == "no"
  assert found["at_work"] == 0
  with claims.hold(store.chunks(filled)[2].path):
    assert repair.stats(filled)["at_work"] == 1


def test_no_store_anywhere(tmp_path):
  with pytest.raises(UserError, match="no store of models in"):
    repair.stores(tmp_path)


def _command(*arguments):
  with pytest.raises(SystemExit) as stop:
    launch_store.main(["launch.store", *map(str, arguments)])
  return stop.value.code


def test_the_command_line(filled, capsys):
  run = filled.parent  # stores are found below it
  assert not _command("verify", run)
  assert "3 intact, 0 missing, 0 damaged, 0 left" in capsys.readouterr().out
  _flip(filled / "chunk-00001.npy")
  assert _command("verify", run) == 1
  out = capsys.readouterr().out
  assert "1 damaged" in out and "damaged: chunk-00001.npy" in out
  assert f"informed-recon store repair {run}" in out
  assert not _command("repair", run)
  assert "run the same experiment again" in capsys.readouterr().out
  assert not _command("verify", run)
  launch_store.main(["launch.store", "stats", str(run)])
  assert "chunks: 2 of 3" in capsys.readouterr().out
  for bad in (["verify"], ["mend", run], []):
    with pytest.raises(UserError, match="usage: .*verify|repair|stats DIR"):
      launch_store.main(["launch.store", *map(str, bad)])
