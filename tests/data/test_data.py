"""The contract of every data source, and what users' own files get wrong."""

import os
import pathlib
import types

import numpy as np
import pytest

from informed_recon import data, registry
from informed_recon.data import DataSpec
from informed_recon.types import UserError


def _save(path, x, y, **more):
  np.savez(path, x=x, y=y, **more)
  return DataSpec("npz", path=str(path))


def _images(n=6, shape=(4, 4)):
  return np.random.default_rng(0).uniform(size=(n, *shape)).astype(np.float32)


LABELS = np.array([0, 1, 2, 0, 1, 2])


@pytest.fixture
def example(request, tmp_path):
  """A spec for the source under test; a new source needs one here only if
  its name alone does not load it."""
  specs = {
    "npz": lambda: _save(tmp_path / "own.npz", _images(), LABELS),
    "tfds": lambda: _prepared(tmp_path),
  }
  return specs.get(request.param, lambda: DataSpec(request.param))()


def _prepared(folder):
  from tests.data.test_preparation import prepare_mnist

  prepare_mnist(folder)
  return DataSpec("tfds", name="mnist", data_dir=str(folder / "tfds"))


@pytest.mark.parametrize("example", registry.names("data"), indirect=True)
def test_contract(example):
  dataset = data.load(example)
  x, y = dataset.records
  assert x.dtype == np.float32 and y.dtype == np.int32
  assert len(x) == len(y) > 0 and x.shape[1:] == dataset.shape
  assert x.min() >= 0 and x.max() <= 1
  assert x.max() > 0.5  # scaled once, not twice
  assert set(np.unique(y)) <= set(range(dataset.num_classes))
  assert dataset.num_classes > 1 and dataset.name
  again = data.load(example)  # one fixed order
  assert again.fingerprint() == dataset.fingerprint()
  assert not dataset.name.startswith("/")


@pytest.mark.parametrize(
  "source, count, shape",
  [("digits", 1797, (8, 8, 1)), ("mnist_sample", 5000, (28, 28, 1))],
)
def test_embedded_sets_are_what_they_say(source, count, shape):
  x, y = data.load(DataSpec(source)).records
  assert x.shape == (count, *shape)
  assert np.bincount(y).min() > count / 12 and len(np.bincount(y)) == 10
  assert x.max() == 1 and x.min() == 0


def test_fingerprint_sees_every_part(tmp_path):
  x = _images()
  base = data.load(_save(tmp_path / "a.npz", x, LABELS)).fingerprint()
  moved = x.copy()
  moved[3, 2, 2] = 0.123
  labels = np.array([0, 1, 2, 0, 2, 1])
  others = [
    _save(tmp_path / "b.npz", moved, LABELS),
    _save(tmp_path / "c.npz", x, labels),
    _save(tmp_path / "d.npz", x, LABELS, num_classes=7),
    _save(tmp_path / "e.npz", x.reshape(6, 2, 8), LABELS),
  ]
  prints = {data.load(s).fingerprint() for s in others}
  assert len(prints | {base}) == 5


def test_npz_eight_bit_images_are_scaled(tmp_path):
  x = np.arange(6 * 16, dtype=np.uint8).reshape(6, 4, 4)
  dataset = data.load(_save(tmp_path / "a.npz", x, LABELS))
  assert dataset.shape == (4, 4, 1)
  np.testing.assert_allclose(dataset.records.x[..., 0], x / 255, rtol=1e-6)


@pytest.mark.parametrize(
  "shape, expected",
  [((4, 4), (4, 4, 1)), ((4, 4, 3), (4, 4, 3)), ((5,), (5,))],
)
def test_npz_shapes(tmp_path, shape, expected):
  x = _images(shape=shape)
  dataset = data.load(_save(tmp_path / "a.npz", x, LABELS))
  assert dataset.shape == expected and dataset.num_classes == 3
  np.testing.assert_array_equal(dataset.records.x.reshape(x.shape), x)


def test_npz_number_of_classes(tmp_path):
  spec = _save(tmp_path / "a.npz", _images(), LABELS, num_classes=9)
  assert data.load(spec).num_classes == 9


def _with(value):
  x = _images()
  x[2, 1, 1] = value
  return x


@pytest.mark.parametrize(
  "arrays, message",
  [
    (dict(x=_with(np.nan)), "1 records hold NaN or inf"),
    (dict(x=_with(np.inf)), "1 records hold NaN or inf"),
    (dict(x=_with(-0.1)), r"pixels must lie in \[0, 1\], found \[-0.1,"),
    (dict(x=_with(1.01)), r"found \[.*, 1.01\]; divide 8-bit images by 255"),
    (dict(x=_images() * 255), "divide 8-bit images by 255"),
    (
      dict(x=_images().astype(np.int64)),
      "x must be uint8, uint16, bool or float",
    ),
    (
      dict(x=_images().astype(complex)),
      "x must be uint8, uint16, bool or float",
    ),
    (dict(x=_images().astype(str)), "x must be uint8, uint16, bool or float"),
    (dict(x=_images(5)), "of one length, got"),
    (dict(x=_images()[:, 0, 0]), r"need x \(n, ...\)"),
    (dict(x=np.float32(0.5)), r"need x \(n, ...\)"),
    (dict(x=np.zeros((6, 0), np.float32)), "x holds no features"),
    (dict(x=_images(0), y=LABELS[:0]), "not empty"),
    (dict(y=LABELS - 1), r"labels must lie in \[0, 2\), found \[-1, 1\]"),
    (dict(num_classes=2), r"labels must lie in \[0, 2\), found \[0, 2\]"),
    (dict(num_classes=np.array([2, 3])), "num_classes must be one integer"),
    (dict(y=LABELS.astype(float)), "labels must be integers, got float64"),
    (dict(y=LABELS * np.nan), "labels must be integers, got float64"),
    (dict(y=LABELS.astype(str)), "labels must be integers, got <U21"),
    (dict(y=LABELS[:, None]), "need x .* and y"),
    (dict(y=np.int64(1)), "need x .* and y"),
  ],
)
def test_npz_with_bad_values(tmp_path, arrays, message):
  arrays = dict(x=_images(), y=LABELS) | arrays
  np.savez(tmp_path / "own.npz", **arrays)
  with pytest.raises(UserError, match=message):
    data.load(DataSpec("npz", path=str(tmp_path / "own.npz")))


def test_npz_that_is_not_there(tmp_path):
  for path in ("", str(tmp_path), str(tmp_path / "no.npz")):
    with pytest.raises(UserError, match="no data file .*--config.data.path="):
      data.load(DataSpec("npz", path=path))


def test_npz_without_the_arrays(tmp_path):
  np.savez(tmp_path / "a.npz", images=_images(), y=LABELS)
  message = r"holds \['images', 'y'\]; it must hold arrays 'x' and 'y'"
  with pytest.raises(UserError, match=message):
    data.load(DataSpec("npz", path=str(tmp_path / "a.npz")))


class _Bomb:
  def __reduce__(self):
    return os.mkdir, (self.path,)


def test_npz_never_unpickles(tmp_path):
  bomb = _Bomb()
  bomb.path = str(tmp_path / "exploded")
  np.savez(tmp_path / "a.npz", x=np.array([bomb], object), y=LABELS)
  with pytest.raises(UserError, match="not a plain .npz"):
    data.load(DataSpec("npz", path=str(tmp_path / "a.npz")))
  assert not (tmp_path / "exploded").exists()


def _no_zip(path):
  path.write_text("x,y\n1,2\n")


def _empty(path):
  path.write_bytes(b"")


def _npy(path):
  with open(path, "wb") as file:
    np.save(file, _images())


def _truncated(path):
  np.savez(path, x=_images(), y=LABELS)
  path.write_bytes(path.read_bytes()[:300])


def _flipped(path):
  np.savez_compressed(path, x=_images(), y=LABELS)
  raw = bytearray(path.read_bytes())
  raw[60:90] = bytes(30)
  path.write_bytes(raw)


@pytest.mark.parametrize("write", [_no_zip, _empty, _npy, _truncated, _flipped])
def test_files_that_are_no_npz(tmp_path, write):
  write(tmp_path / "a.npz")
  with pytest.raises(UserError, match="not a plain .npz"):
    data.load(DataSpec("npz", path=str(tmp_path / "a.npz")))


def test_an_unknown_source_lists_the_known():
  message = "unknown data 'mnits'; known: .*digits.*npz.*tfds"
  with pytest.raises(UserError, match=message):
    data.load(DataSpec("mnits"))


def test_fake_shapes():
  shape = data.load(DataSpec("fake", name="12x10x3")).shape
  assert shape == (12, 10, 3)
  for name in ("12x10", "axbxc", "12x10x3x4"):
    with pytest.raises(UserError, match="name must look like 8x8x1"):
      data.load(DataSpec("fake", name=name))


def test_tfds_without_a_name():
  with pytest.raises(UserError, match="--config.data.name=mnist"):
    data.load(DataSpec("tfds"))


def test_tfds_unknown_set(tmp_path):
  message = "TFDS knows no data set 'mnits'"
  with pytest.raises(UserError, match=message):
    data.load(DataSpec("tfds", name="mnits", data_dir=str(tmp_path)))
  assert not any(pathlib.Path(tmp_path).iterdir())


@pytest.mark.parametrize(
  "name, command",
  [
    ("mnist", "informed-recon prepare --dataset=mnist --originals=FOLDER"),
    ("cifar10", "informed-recon prepare --dataset=cifar10 --originals="),
    ("kmnist", r"t.builder\('kmnist', file_format='array_record'\)"),
  ],
)
def test_tfds_unprepared_set_says_how(tmp_path, name, command):
  spec = DataSpec("tfds", name=name, data_dir=str(tmp_path))
  with pytest.raises(UserError, match=f"not prepared under .*run: .*{command}"):
    data.load(spec)


def _sets(monkeypatch, **sets):
  """The source "fake" with sets by name: (records, shape, classes)."""

  def load(spec):
    count, shape, classes = sets[spec.name]
    x = np.full((count, *shape), len(spec.name) / 10, np.float32)
    y = np.arange(count) % max(classes, 1)
    return data.Dataset(spec.name, data.Records(x, y), classes)

  monkeypatch.setattr(registry.find("data", "fake"), "load", load)


def test_shadow_targets_of_another_set(monkeypatch):
  _sets(monkeypatch, mine=(6, (4, 4, 1), 3), others=(5, (4, 4, 1), 2))
  dataset = data.load(DataSpec("fake", name="mine", shadow="others"))
  assert dataset.name == "mine" and dataset.num_classes == 3
  assert dataset.sizes == (6, 5)
  assert data.load(DataSpec("fake", name="mine")).sizes == (6, 0)
  x, y = dataset.records
  np.testing.assert_allclose(x[:, 0, 0, 0], [0.4] * 6 + [0.6] * 5)
  np.testing.assert_array_equal(y, [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(
  "other, message",
  [
    ((5, (4, 5, 1), 3), "cannot take their place"),
    ((5, (4, 4, 1), 4), "in 4 classes, 'mine' has"),
    ((5, (4, 4, 1), 0), "cannot take their place"),
  ],
)
def test_shadow_targets_that_do_not_fit(monkeypatch, other, message):
  _sets(monkeypatch, mine=(6, (4, 4, 1), 3), others=other)
  with pytest.raises(UserError, match=message):
    data.load(DataSpec("fake", name="mine", shadow="others"))
  with pytest.raises(UserError, match="no other set than the records"):
    data.load(DataSpec("fake", name="mine", shadow="mine"))


def test_a_source_of_one_set_has_no_other_for_shadow_targets():
  with pytest.raises(UserError, match="no other set than the records"):
    data.load(DataSpec("digits", shadow="mnist"))


@pytest.mark.parametrize(
  "dtype, scale", [("uint8", 255), ("uint16", 65535), ("bool", 1)]
)
def test_images_are_scaled_by_their_type(dtype, scale):
  x = np.arange(32).reshape(2, 4, 4).astype(dtype)
  scaled = data.images(x)
  assert scaled.dtype == np.float32 and scaled.shape == (2, 4, 4, 1)
  np.testing.assert_allclose(scaled[..., 0], x.astype(np.float64) / scale)
  floats = np.float64([[[0.5, 1.0]]])
  np.testing.assert_array_equal(data.images(floats)[..., 0], floats)
  with pytest.raises(UserError, match="images of type int64 have no known"):
    data.images(x.astype(np.int64))


def test_npz_labels_of_eight_bits(tmp_path):
  """The largest plus one does not wrap around."""
  x = np.zeros((3, 4, 4), np.float32)
  np.savez(tmp_path / "a.npz", x=x, y=np.array([0, 1, 255], np.uint8))
  found = data.load(DataSpec("npz", path=str(tmp_path / "a.npz")))
  assert found.num_classes == 256 and found.records.y.tolist() == [0, 1, 255]


@pytest.mark.parametrize(
  "arrays, message",
  [
    (
      dict(x=np.full((4, 3), 7.0), y=[0, 1, 0, 1]),
      "features must lie in .*col",
    ),
    (
      dict(x=np.full((4, 3), 0.5), y=[0.1, 1, 0, 1]),
      "save num_classes=0 beside",
    ),
  ],
)
def test_npz_tables_say_what_they_want(tmp_path, arrays, message):
  np.savez(tmp_path / "a.npz", **arrays)
  with pytest.raises(UserError, match=message):
    data.load(DataSpec("npz", path=str(tmp_path / "a.npz")))


class _Builder:
  """A prepared TFDS set of one split, without files."""

  def __init__(self, images, labels, features, broken=False):
    self.records = [dict(image=x, label=y) for x, y in zip(images, labels)]
    self.info = types.SimpleNamespace(features=features)
    self.data_dir, self.broken = "where", broken

  def as_data_source(self, split):
    del split
    return dict(train=self)

  def __len__(self):
    return len(self.records)

  def __getitems__(self, ids):
    if self.broken:
      raise IndexError("Invalid chunk header\nat 17")
    return [self.records[i] for i in ids]


@pytest.mark.parametrize(
  "image, label, broken, message",
  [
    (np.float32, "classes", False, ""),
    (np.uint16, "classes", False, ""),
    (np.uint8, "scalar", False, "labels of the kind Scalar .*not classes"),
    (np.uint8, "classes", True, "'train' in where are damaged .Invalid chunk"),
  ],
)
def test_tfds_features_of_other_types(
  monkeypatch, image, label, broken, message
):
  import tensorflow_datasets as tfds

  rng = np.random.default_rng(0)
  floats = rng.uniform(size=(3, 4, 4, 1))
  white = 1 if image == np.float32 else np.iinfo(image).max
  features = tfds.features.FeaturesDict(
    dict(
      image=tfds.features.Image(shape=(4, 4, 1), dtype=image),
      label=tfds.features.ClassLabel(num_classes=3)
      if label == "classes"
      else tfds.features.Scalar(np.float32),
    )
  )
  stored = (floats * white).astype(image)
  builder = _Builder(stored, [0, 1, 2], features, broken)
  monkeypatch.setattr(tfds, "builder", lambda *_, **__: builder)
  if message:
    with pytest.raises(UserError, match=message):
      data.load(DataSpec("tfds", name="own"))
    return
  found = data.load(DataSpec("tfds", name="own")).records
  np.testing.assert_allclose(found.x, floats, atol=1e-4)


def test_tfds_on_a_cloud_without_its_library(monkeypatch):
  import tensorflow_datasets as tfds

  def missing(*_, **__):
    raise ImportError("Please install gcsfs to access Google Storage")

  monkeypatch.setattr(tfds, "builder", missing)
  with pytest.raises(UserError, match="cannot be read: Please install gcsfs"):
    data.load(DataSpec("tfds", name="mnist", data_dir="gs://a/b"))


def test_shadow_targets_of_the_first_classes():
  """They are set aside from the records, each once, and are of no other."""
  whole = data.load(DataSpec("digits"))
  found = data.load(DataSpec("digits", shadow_classes=3))
  own, foreign = found.sizes
  assert set(found.records.y[own:]) == {0, 1, 2}
  assert set(found.records.y[:own]) == set(range(10))
  few = int((whole.records.y < 3).sum())
  assert foreign == -(-few // 2) and own + foreign == len(whole.records.y)

  def everyone(dataset):
    return np.sort(dataset.records.x.reshape(len(dataset.records.y), -1), 0)

  np.testing.assert_array_equal(everyone(found), everyone(whole))
  with pytest.raises(
    UserError, match="data.shadow_classes must lie .*, got 11"
  ):
    data.load(DataSpec("digits", shadow_classes=11))
