"""Any TFDS image-classification set by name, read without TensorFlow.

All splits are joined in the order train, test, then the others by name. The
set must have been prepared in a format with random access (array_record).
"""

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from informed_recon import data
from informed_recon.data import preparation
from informed_recon.types import Records, UserError

BLOCK = 1000  # records a read: block reads are 4-8 times faster than iterating


def load(spec: data.DataSpec) -> data.Dataset:
  if not spec.name:
    raise UserError("tfds: give the set's name with --config.data.name=mnist")
  directory = spec.data_dir or None
  try:
    builder = tfds.builder(spec.name, data_dir=directory)
    sources = builder.as_data_source(split=None)
  except tfds.core.DatasetNotFoundError:
    raise UserError(
      f"TFDS knows no data set {spec.name!r}; "
      "see https://www.tensorflow.org/datasets/catalog/overview"
    ) from None
  except (AssertionError, FileNotFoundError, NotImplementedError, ValueError):
    raise UserError(_how_to_prepare(spec)) from None
  except ImportError as error:  # such as gcsfs for gs://
    raise UserError(f"TFDS set {spec.name!r} cannot be read: {error}") from None
  splits = sorted(
    (s for s in sources if sources[s] is not None),
    key=lambda s: ({"train": 0, "test": 1}.get(s, 2), s),
  )
  if not splits:
    raise UserError(_how_to_prepare(spec))
  features = builder.info.features
  if not {"image", "label"} <= features.keys():
    raise UserError(
      f"TFDS set {spec.name!r} has features {sorted(features)}; "
      "an image-classification set has 'image' and 'label'"
    )
  if None in features["image"].shape:
    raise UserError(
      f"TFDS set {spec.name!r} has images of differing size "
      f"{features['image'].shape}; resize them into an .npz (data.source=npz)"
    )
  label = features["label"]
  if not isinstance(label, tfds.features.ClassLabel) or not label.num_classes:
    raise UserError(
      f"TFDS set {spec.name!r} has labels of the kind {type(label).__name__} "
      f"({label.np_dtype}), not classes; write what you need into an .npz "
      "(data.source=npz)"
    )
  total = sum(len(sources[s]) for s in splits)
  x = np.empty((total, *features["image"].shape), np.float32)
  y = np.empty((total,), np.int32)
  row = 0
  with tqdm(total=total, desc=f"read {spec.name}", unit="record") as bar:
    for split in splits:
      source = sources[split]
      for start in range(0, len(source), BLOCK):
        ids = range(start, min(start + BLOCK, len(source)))
        try:
          block = source.__getitems__(ids)
        except Exception as error:  # of the reader, in C++
          why = str(error).strip().splitlines()[:1] or [type(error).__name__]
          raise UserError(
            f"TFDS set {spec.name!r}: the files of {split!r} in "
            f"{builder.data_dir} are damaged ({why[0]}); prepare it again"
          ) from None
        stop = row + len(block)
        x[row:stop] = data.images(np.stack([r["image"] for r in block]))
        y[row:stop] = [r["label"] for r in block]
        row = stop
        bar.update(len(block))
  return data.Dataset(
    spec.name.replace("/", "_"), Records(x, y), label.num_classes
  )


def _how_to_prepare(spec: data.DataSpec) -> str:
  where = spec.data_dir or "TFDS_DATA_DIR, or ~/tensorflow_datasets"
  if spec.name in preparation.SETS:
    how = (
      f"informed-recon prepare --dataset={spec.name} "
      "--originals=FOLDER --data_dir=DIR (no TensorFlow needed)"
    )
  else:
    how = (
      'python -c "import tensorflow_datasets as t; '
      f"t.builder('{spec.name}', file_format='array_record')"
      '.download_and_prepare()" (needs TensorFlow once)'
    )
  return f"TFDS set {spec.name!r} is not prepared under {where}; run: {how}"
