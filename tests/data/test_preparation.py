"""Original files in, the same pixels and labels out of TFDS."""

import gzip
import io
import pathlib
import struct
import tarfile

import numpy as np
import pytest

from informed_recon import data
from informed_recon.data import DataSpec, preparation
from informed_recon.types import UserError

TRAIN, TEST = 25, 5


def _records(n, shape, seed):
  rng = np.random.default_rng(seed)
  x = rng.integers(256, size=(n, *shape), dtype=np.uint8)
  return x, (np.arange(n) % 10).astype(np.uint8)


def _idx(path, array, magic, zipped):
  header = struct.pack(f">{1 + array.ndim}I", magic, *array.shape)
  raw = header + array.tobytes()
  if zipped:
    path = path.with_name(path.name + ".gz")
    raw = gzip.compress(raw)
  path.write_bytes(raw)


def write_idx(folder, zipped=True):
  """Four tiny IDX files; returns all images and labels, train first."""
  folder.mkdir(exist_ok=True)
  parts = []
  for prefix, n, seed in (("train", TRAIN, 0), ("t10k", TEST, 1)):
    x, y = _records(n, (28, 28), seed)
    _idx(folder / f"{prefix}-images-idx3-ubyte", x, 2051, zipped)
    _idx(folder / f"{prefix}-labels-idx1-ubyte", y, 2049, zipped)
    parts.append((x, y))
  return tuple(map(np.concatenate, zip(*parts)))


def prepare_mnist(folder, name="mnist", zipped=True):
  truth = write_idx(folder / "originals", zipped)
  where = preparation.prepare(
    name, str(folder / "originals"), str(folder / "tfds")
  )
  assert where.is_relative_to(folder / "tfds")
  return truth


def _write_cifar(folder, archive):
  folder.mkdir(exist_ok=True)
  names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
  xs, ys, members = [], [], {}
  for seed, name in enumerate(names):
    x, y = _records(TEST, (32, 32, 3), seed)
    planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
    members[name] = np.concatenate([y[:, None], planes], 1).tobytes()
    xs.append(x)
    ys.append(y)
  if archive:
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
      for name, raw in members.items():
        info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
        info.size = len(raw)
        tar.addfile(info, io.BytesIO(raw))
  else:
    for name, raw in members.items():
      (folder / name).write_bytes(raw)
  return np.concatenate(xs), np.concatenate(ys)


def _assert_same_records(folder, name, x, y):
  """TFDS shuffles within a split: compare as sets, train before test."""
  dataset = data.load(
    DataSpec("tfds", name=name, data_dir=str(folder / "tfds"))
  )
  assert dataset.num_classes == 10 and len(dataset.records.y) == len(y)
  pixels = np.rint(dataset.records.x * 255).astype(np.uint8)
  np.testing.assert_allclose(pixels / 255, dataset.records.x, atol=1e-6)
  for part in (slice(0, TRAIN), slice(TRAIN, None)):
    theirs = [
      (a.tobytes(), int(b))
      for a, b in zip(pixels[part], dataset.records.y[part])
    ]
    ours = [(a.tobytes(), int(b)) for a, b in zip(x[part], y[part])]
    assert sorted(theirs) == sorted(ours)


@pytest.mark.parametrize(
  "name, zipped", [("mnist", True), ("fashion_mnist", False)]
)
def test_idx_round_trip(tmp_path, name, zipped):
  x, y = prepare_mnist(tmp_path, name, zipped)
  _assert_same_records(tmp_path, name, x, y)


@pytest.mark.parametrize("archive", [True, False])
def test_cifar_round_trip(tmp_path, archive):
  x, y = _write_cifar(tmp_path / "originals", archive)
  preparation.prepare(
    "cifar10", str(tmp_path / "originals"), str(tmp_path / "tfds")
  )
  _assert_same_records(tmp_path, "cifar10", x, y)


LABELS = "train-labels-idx1-ubyte"
IMAGES = "train-images-idx3-ubyte"


def _cut(folder):
  path = folder / IMAGES
  path.write_bytes(path.read_bytes()[:-1])


def _wrong_magic(folder):
  (folder / IMAGES).write_bytes((folder / LABELS).read_bytes())


def _short(folder):
  (folder / IMAGES).write_bytes(b"\0\0")


def _gone(folder):
  (folder / "t10k-labels-idx1-ubyte").unlink()


def _one_label_less(folder):
  _idx(folder / LABELS, np.zeros(TRAIN - 1, np.uint8), 2049, False)


def _label_outside(folder):
  _idx(folder / LABELS, np.full(TRAIN, 10, np.uint8), 2049, False)


def _other_size(folder):
  x = np.zeros((TRAIN, 27, 28), np.uint8)
  _idx(folder / IMAGES, x, 2051, False)


def _no_records(folder):
  _idx(folder / IMAGES, np.zeros((0, 28, 28), np.uint8), 2051, False)
  _idx(folder / LABELS, np.zeros(0, np.uint8), 2049, False)


def _no_gzip(folder):
  (folder / f"{IMAGES}.gz").write_bytes(b"<html>not found</html>")


def _torn_gzip(folder):
  raw = gzip.compress((folder / IMAGES).read_bytes())
  (folder / f"{IMAGES}.gz").write_bytes(raw[: len(raw) // 2])


def _flipped_gzip(folder):
  raw = bytearray(gzip.compress((folder / IMAGES).read_bytes()))
  raw[15:60] = bytes(45)
  (folder / f"{IMAGES}.gz").write_bytes(raw)


@pytest.mark.parametrize(
  "damage, message",
  [
    (_cut, "not the original IDX file: header and size disagree"),
    (_wrong_magic, "not the original IDX file"),
    (_short, "not the original IDX file"),
    (_gone, r"no t10k-labels-idx1-ubyte\[.gz\] in"),
    (_one_label_less, "25 train images, 24 labels"),
    (_label_outside, r"labels must lie in \[0, 10\), found 10"),
    (_other_size, r"images of \(27, 28, 1\), mnist has \(28, 28, 1\)"),
    (_no_records, "no records"),
    (_no_gzip, "not the original IDX file"),
    (_torn_gzip, "not the original IDX file"),
    (_flipped_gzip, "not the original IDX file"),
  ],
)
def test_bad_idx_files_are_refused_before_writing(tmp_path, damage, message):
  write_idx(tmp_path / "originals", zipped=False)
  damage(tmp_path / "originals")
  with pytest.raises(UserError, match=message):
    preparation.prepare(
      "mnist", str(tmp_path / "originals"), str(tmp_path / "tfds")
    )
  assert not (tmp_path / "tfds").exists()


def _cut_batch(folder):
  path = folder / "data_batch_3.bin"
  path.write_bytes(path.read_bytes()[:-1])


def _bad_label(folder):
  path = folder / "test_batch.bin"
  path.write_bytes(b"\x63" + path.read_bytes()[1:])


def _lost_batch(folder):
  (folder / "data_batch_5.bin").unlink()


def _no_archive(folder):
  _lost_batch(folder)
  (folder / "cifar-10-binary.tar.gz").write_bytes(b"<html></html>")


def _archive_without(folder):
  _lost_batch(folder)
  with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz"):
    pass


@pytest.mark.parametrize(
  "damage, message",
  [
    (_cut_batch, "data_batch_3.bin is not a CIFAR-10 binary batch"),
    (_bad_label, r"labels must lie in \[0, 10\), found 99"),
    (_lost_batch, "neither data_batch_5.bin nor cifar-10-binary.tar.gz in"),
    (_no_archive, "cifar-10-binary.tar.gz .*data_batch_5.bin"),
    (_archive_without, "cifar-10-binary.tar.gz .*data_batch_5.bin"),
  ],
)
def test_bad_cifar_files_are_refused_before_writing(tmp_path, damage, message):
  _write_cifar(tmp_path / "originals", archive=False)
  damage(tmp_path / "originals")
  with pytest.raises(UserError, match=message):
    preparation.prepare(
      "cifar10", str(tmp_path / "originals"), str(tmp_path / "tfds")
    )
  assert not (tmp_path / "tfds").exists()


def test_an_unknown_set_lists_the_known(tmp_path):
  message = "'imagenet'; known: mnist, fashion_mnist, cifar10"
  with pytest.raises(UserError, match=message):
    preparation.prepare("imagenet", str(tmp_path), str(tmp_path))


def test_a_folder_that_is_not_there(tmp_path):
  for name in preparation.SETS:
    with pytest.raises(UserError, match=" in .*nowhere"):
      preparation.prepare(name, str(tmp_path / "nowhere"), str(tmp_path))
  assert list(pathlib.Path(tmp_path).iterdir()) == []
