"""Prepares MNIST, Fashion-MNIST and CIFAR-10 for TFDS without TensorFlow.

TFDS's own builders for these sets need TensorFlow to prepare them. These
read the sets' original distribution files and write the same features in
array_record form, so that `tfds.data_source(name)` reads the result.
"""

import gzip
import io
import pathlib
import tarfile
import zlib
from collections.abc import Iterator

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from informed_recon.types import UserError

DIGITS = tuple("0123456789")
FASHION = (
  *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal"),
  *("Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CIFAR = tuple(
  "airplane automobile bird cat deer dog frog horse ship truck".split()
)
# name -> (TFDS version, image shape, class names)
SETS = {
  "mnist": ("3.0.1", (28, 28, 1), DIGITS),
  "fashion_mnist": ("3.0.1", (28, 28, 1), FASHION),
  "cifar10": ("3.0.2", (32, 32, 3), CIFAR),
}
IDX_FILES = {"train": "train", "test": "t10k"}
CIFAR_FILES = {
  "train": [f"data_batch_{i}.bin" for i in range(1, 6)],
  "test": ["test_batch.bin"],
}
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


def prepare(name: str, originals: str, data_dir: str) -> pathlib.Path:
  """Writes the set under `data_dir` and returns its folder.

  Args:
    name: one of `SETS`.
    originals: folder with the original files: the four IDX files of MNIST or
      Fashion-MNIST (`train-images-idx3-ubyte[.gz]` ...), or
      `cifar-10-binary.tar.gz` (or the `.bin` files inside it).
    data_dir: TFDS data directory to write into.

  Raises:
    UserError: unknown set, or an original is missing or malformed.
  """
  if name not in SETS:
    raise UserError(
      f"no TensorFlow-free preparation for {name!r}; known: {', '.join(SETS)}"
    )
  folder = pathlib.Path(originals)
  read = _read_cifar if name == "cifar10" else _read_idx
  splits = {split: read(folder, split) for split in ("train", "test")}
  for images, labels in splits.values():
    _check(name, folder, images, labels)
  with tfds.core.registered.skip_registration():
    builder = _builder(name, splits)(
      data_dir=data_dir, file_format="array_record"
    )
  builder.download_and_prepare()
  return pathlib.Path(builder.data_dir)


def _check(name: str, folder, images: np.ndarray, labels: np.ndarray) -> None:
  """Refuses what TFDS would write unread, or fail on half-way."""
  _, shape, classes = SETS[name]
  if not len(images):
    raise UserError(f"{folder}: the files hold no records")
  if images.shape[1:] != shape:
    raise UserError(
      f"{folder}: images of {images.shape[1:]}, {name} has {shape}"
    )
  if labels.max() >= len(classes):
    raise UserError(
      f"{folder}: labels must lie in [0, {len(classes)}), found {labels.max()}"
    )


def _builder(name: str, splits: dict) -> type:
  """A TFDS builder class for arrays already in memory."""
  version, shape, classes = SETS[name]
  with_id = name == "cifar10"  # TFDS's CIFAR-10 carries one; the others do not

  class Builder(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version(version)
    # There is no checksum file beside this code; TFDS would look for one with
    # importlib_resources, which it needs but does not install.
    code_path = None

    def _info(self):
      features = {
        "image": tfds.features.Image(shape=shape, encoding_format="png"),
        "label": tfds.features.ClassLabel(names=classes),
      }
      if with_id:
        features["id"] = tfds.features.Text()
      return self.dataset_info_from_configs(
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        description=f"{name}, prepared from its original files.",
      )

    def _split_generators(self, dl_manager):
      del dl_manager  # nothing is downloaded
      return {s: self._generate_examples(s) for s in splits}

    def _generate_examples(self, split) -> Iterator:
      for i, (image, label) in enumerate(zip(*splits[split], strict=True)):
        key = f"{split}_{i:05d}"
        example = {"image": io.BytesIO(_png(image)), "label": int(label)}
        yield key, example | ({"id": key} if with_id else {})

  Builder.name = name
  return Builder


def _png(image: np.ndarray) -> bytes:
  out = io.BytesIO()
  PIL.Image.fromarray(image.squeeze()).save(out, format="png")
  return out.getvalue()


def _read_idx(folder: pathlib.Path, split: str):
  """Images (n, 28, 28, 1) and labels (n,) from IDX files (LeCun's format)."""
  prefix = IDX_FILES[split]
  x = _idx(folder, f"{prefix}-images-idx3-ubyte", magic=2051, dims=3)
  y = _idx(folder, f"{prefix}-labels-idx1-ubyte", magic=2049, dims=1)
  if len(x) != len(y):
    raise UserError(f"{folder}: {len(x)} {split} images, {len(y)} labels")
  return x[..., None], y


def _idx(folder: pathlib.Path, stem: str, magic: int, dims: int) -> np.ndarray:
  for path in (folder / f"{stem}.gz", folder / stem):
    if path.is_file():
      break
  else:
    raise UserError(f"no {stem}[.gz] in {folder}")
  try:
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    header = np.frombuffer(raw, ">u4", count=1 + dims)
    values = np.frombuffer(raw, np.uint8, offset=header.nbytes)
    if header[0] != magic or values.size != np.prod(header[1:]):
      raise ValueError("header and size disagree")
  except (ValueError, OSError, EOFError, zlib.error) as error:
    raise UserError(f"{path} is not the original IDX file: {error}") from None
  return values.reshape(header[1:].astype(int))


def _read_cifar(folder: pathlib.Path, split: str):
  """Images (n, 32, 32, 3) and labels (n,) from CIFAR-10's binary version."""
  chunks = []
  for name in CIFAR_FILES[split]:
    raw = _cifar_bytes(folder, name)
    if not raw or len(raw) % 3073:
      raise UserError(f"{folder}: {name} is not a CIFAR-10 binary batch")
    chunks.append(np.frombuffer(raw, np.uint8).reshape(-1, 3073))
  rows = np.concatenate(chunks)  # label, then 1,024 red, green, blue
  x = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
  return np.ascontiguousarray(x), rows[:, 0]


def _cifar_bytes(folder: pathlib.Path, name: str) -> bytes:
  for path in (folder / name, folder / "cifar-10-batches-bin" / name):
    if path.is_file():
      return path.read_bytes()
  archive = folder / CIFAR_ARCHIVE
  if not archive.is_file():
    raise UserError(f"neither {name} nor {CIFAR_ARCHIVE} in {folder}")
  try:
    with tarfile.open(archive) as tar:
      return tar.extractfile(f"cifar-10-batches-bin/{name}").read()
  except (tarfile.TarError, KeyError, EOFError, zlib.error) as error:
    raise UserError(f"{archive} holds no whole {name}: {error}") from None
