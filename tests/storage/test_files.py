"""Files that are whole or not there at all."""

import os

import numpy as np
import pytest

from informed_recon.storage import files


def test_a_failed_write_leaves_what_was_there(tmp_path):
  path = tmp_path / "a.json"
  files.write_json(path, dict(a=1))

  def torn(file):
    file.write(b'{"a": ')
    raise OSError(28, "No space left on device")

  with pytest.raises(OSError):
    files.write(path, torn)
  assert files.read_json(path) == dict(a=1)
  assert os.listdir(tmp_path) == ["a.json"]


def test_unfinished_content_never_shows_under_the_final_name(tmp_path):
  path = tmp_path / "folder" / "a.txt"

  def put(file):
    file.write(b"half")
    file.flush()
    assert not path.exists()
    assert all(n.startswith(".") for n in os.listdir(path.parent))

  files.write(path, put)
  assert path.read_text() == "half"


def test_arrays_round_trip_to_equal_bytes(tmp_path):
  arrays = dict(x=np.arange(6.0).reshape(2, 3), y=np.array([1, 2], np.int32))
  first, second = (tmp_path / run / "attacks/a.npz" for run in "12")
  for path in (first, second):
    files.write_arrays(path, **arrays)
  assert first.read_bytes() == second.read_bytes()
  back = files.read_arrays(first)
  assert back.keys() == arrays.keys()
  for name, array in arrays.items():
    np.testing.assert_array_equal(back[name], array)
    assert back[name].dtype == array.dtype


def test_pickled_objects_are_not_read(tmp_path):
  np.savez(tmp_path / "a.npz", x=np.array([{}], object))
  with pytest.raises(ValueError, match="allow_pickle"):
    files.read_arrays(tmp_path / "a.npz")


def test_a_file_under_another_name_is_damaged(tmp_path):
  files.write_arrays(tmp_path / "part-0.npz", x=np.arange(3))
  files.write_sealed(tmp_path / "one.json", dict(a=1))
  (tmp_path / "part-0.npz").rename(tmp_path / "part-1.npz")
  (tmp_path / "one.json").rename(tmp_path / "two.json")
  with pytest.raises(files.Damaged, match="part-1.npz is damaged .*part-0"):
    files.read_arrays(tmp_path / "part-1.npz")
  with pytest.raises(files.Damaged, match="two.json is damaged"):
    files.read_sealed(tmp_path / "two.json")


def test_what_is_damaged_is_made_again(tmp_path):
  files.write_sealed(tmp_path / "a.json", dict(a=1))
  text = (tmp_path / "a.json").read_text().replace("1,", "2,", 1)
  (tmp_path / "a.json").write_text(text)
  assert files.kept_sealed(tmp_path / "a.json", lambda: dict(a=3)) == dict(a=3)


def test_files_older_than_their_seals_are_read(tmp_path):
  np.savez(tmp_path / "a.npz", x=np.arange(3))
  assert files.read_arrays(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
  files.write_json(tmp_path / "a.json", dict(a=1))
  assert files.read_sealed(tmp_path / "a.json") == dict(a=1)
  with pytest.raises(files.Damaged):
    files.read_sealed(tmp_path / "a.json", strict=True)
