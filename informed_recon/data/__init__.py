"""Data sources, one file each: `load(spec) -> Dataset`.

A source yields *all* its records in one fixed order; who is fixed, shadow or
target is the split's business (`informed_recon.splits`).
"""

import dataclasses
import hashlib
from typing import NamedTuple

import numpy as np

from informed_recon import registry
from informed_recon.types import Records, UserError


@dataclasses.dataclass(frozen=True)
class DataSpec:
  """What to load; a source reads the fields it needs."""

  source: str  # file name in informed_recon/data/
  name: str = ""  # tfds: name of the set, such as "mnist"
  path: str = ""  # npz: the user's file
  data_dir: str = ""  # tfds: where prepared sets lie; "" is TFDS's own default


class Dataset(NamedTuple):
  """A labelled set in memory."""

  name: str
  records: Records  # x (n, *shape), y (n,)
  num_classes: int  # 0: y is a real response

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of one record, such as (28, 28, 1)."""
    return self.records.x.shape[1:]

  def fingerprint(self) -> str:
    """Content hash, so that a resumed run notices other data."""
    digest = hashlib.sha256(str((self.shape, self.num_classes)).encode())
    digest.update(np.ascontiguousarray(self.records.x))
    digest.update(np.ascontiguousarray(self.records.y))
    return digest.hexdigest()[:16]


def load(spec: DataSpec) -> Dataset:
  """Loads and checks a data set.

  Raises:
    UserError: unknown source, missing data, or records that are not finite
      images in [0, 1] with labels in [0, K).
  """
  dataset = registry.find("data", spec.source).load(spec)
  x, y = dataset.records
  where = f"data set {dataset.name!r}"
  if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
    raise UserError(
      f"{where}: need x (n, ...) and y (n,) of one length, "
      f"got {x.shape} and {y.shape}"
    )
  regression = dataset.num_classes == 0
  if regression and not np.isfinite(y).all():
    raise UserError(f"{where}: responses must be finite; remove NaN and inf")
  if not regression and not np.issubdtype(y.dtype, np.integer):
    raise UserError(f"{where}: labels must be integers, got {y.dtype}")
  if not x.size:
    raise UserError(f"{where}: x holds no features, its shape is {x.shape}")
  if not np.isfinite(x).all():
    bad = int((~np.isfinite(x)).reshape(len(x), -1).any(1).sum())
    raise UserError(f"{where}: {bad} records hold NaN or inf; remove them")
  if x.min() < 0 or x.max() > 1:
    raise UserError(
      f"{where}: pixels must lie in [0, 1], found [{x.min():g}, {x.max():g}]; "
      "divide 8-bit images by 255"
    )
  if not regression and (y.min() < 0 or y.max() >= dataset.num_classes):
    raise UserError(
      f"{where}: labels must lie in [0, {dataset.num_classes}), "
      f"found [{y.min()}, {y.max()}]"
    )
  return dataset._replace(
    records=Records(
      x.astype(np.float32), y.astype(np.float32 if regression else np.int32)
    )
  )


def images(x: np.ndarray) -> np.ndarray:
  """8-bit images (n, h, w[, c]) as float32 (n, h, w, c) in [0, 1]."""
  x = x[..., None] if x.ndim == 3 else x
  return x.astype(np.float32) / 255
