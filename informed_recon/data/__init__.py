"""Data sources, one file each: `load(spec) -> Dataset`.

A source may have options: `OPTIONS`, a dict of their defaults, which `load`
finds in `spec.options` with what the user has changed of them.

A source yields *all* its records in one fixed order; who is fixed, shadow or
target is the split's business (`informed_recon.splits`).
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from informed_recon import registry
from informed_recon.types import Records, UserError

EXPORTS = ("load",)


@dataclasses.dataclass(frozen=True)
class DataSpec:
  """What to load; a source reads the fields it needs."""

  source: str  # file name in informed_recon/data/, or a file of the user's
  name: str = ""  # tfds: name of the set, such as "mnist"
  path: str = ""  # npz: the user's file
  # Name of another set of the same source to take the shadow targets from: an
  # adversary whose side knowledge is of another kind than the target.
  shadow: str = ""
  data_dir: str = ""  # tfds: where prepared sets lie; "" is TFDS's own default
  options: Mapping[str, Any] = dataclasses.field(
    default_factory=dict, hash=False
  )
  # Above 0: shadow targets are of the first so many classes alone, half of
  # whose records are then set aside for them.
  shadow_classes: int = 0


class Dataset(NamedTuple):
  """A labelled set in memory."""

  name: str
  records: Records  # x (n, *shape), y (n,)
  num_classes: int  # 0: y is a real response
  foreign: int = 0  # the last so many records are for shadow targets alone

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of one record, such as (28, 28, 1)."""
    return self.records.x.shape[1:]

  @property
  def sizes(self) -> tuple[int, int]:
    """Numbers of own and of foreign records."""
    return len(self.records.y) - self.foreign, self.foreign

  def fingerprint(self) -> str:
    """Content hash, so that a resumed run notices other data."""
    digest = hashlib.sha256(str((self.shape, self.num_classes)).encode())
    digest.update(np.ascontiguousarray(self.records.x))
    digest.update(np.ascontiguousarray(self.records.y))
    return digest.hexdigest()[:16]


def load(spec: DataSpec) -> Dataset:
  """Loads and checks a data set.

  Raises:
    UserError: unknown source, missing data, records that are not finite
      images in [0, 1] with labels in [0, K), or shadow targets of another kind
      of record.
  """
  own = _load(spec)
  if spec.shadow_classes:
    return _set_aside(own, spec)
  if not spec.shadow:
    return own
  other = _load(dataclasses.replace(spec, name=spec.shadow))
  if other.fingerprint() == own.fingerprint():
    raise UserError(
      f"data.shadow: {spec.shadow!r} is no other set than the records; give a "
      "source that knows sets by name, such as tfds, and another name"
    )
  fits = other.shape == own.shape and other.num_classes <= own.num_classes
  if not fits or bool(other.num_classes) != bool(own.num_classes):
    raise UserError(
      f"data.shadow: {other.name!r} has records of shape {other.shape} in "
      f"{other.num_classes} classes, {own.name!r} has {own.shape} in "
      f"{own.num_classes}; its records cannot take their place"
    )
  joined = (np.concatenate(both) for both in zip(own.records, other.records))
  return own._replace(records=Records(*joined), foreign=len(other.records.y))


def _set_aside(own: Dataset, spec: DataSpec) -> Dataset:
  """With every second record of the first classes as a foreign one."""
  count = spec.shadow_classes
  if spec.shadow or not 0 < count <= own.num_classes:
    raise UserError(
      "data.shadow_classes must lie between 0 (all) and the set's number of "
      f"classes, {own.num_classes}, and wants data.shadow empty, got {count}"
    )
  there = np.flatnonzero(own.records.y < count)[::2]
  rest = np.setdiff1d(np.arange(len(own.records.y)), there)
  order = np.concatenate([rest, there])
  records = Records(*(a[order] for a in own.records))
  return own._replace(records=records, foreign=len(there))


def defaults(source: str) -> dict[str, Any]:
  """The options of a source, with their defaults.

  Raises:
    UserError: unknown source.
  """
  return dict(getattr(registry.find("data", source), "OPTIONS", {}))


def _load(spec: DataSpec) -> Dataset:
  known = defaults(spec.source)
  unknown = sorted(set(spec.options) - set(known))
  if unknown:
    raise UserError(
      f"data source {spec.source!r} has no option {unknown[0]!r}; known: "
      f"{', '.join(sorted(known)) or 'none'}"
    )
  spec = dataclasses.replace(spec, options=known | dict(spec.options))
  dataset = registry.find("data", spec.source).load(spec)
  if not isinstance(dataset, Dataset):
    raise UserError(
      f"data source {spec.source!r}: load(spec) must return an "
      f"informed_recon.data.Dataset, got {type(dataset).__name__}"
    )
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
    raise UserError(
      f"{where}: labels must be integers, got {y.dtype}; for a real response "
      "save num_classes=0 beside x and y"
    )
  if not x.size:
    raise UserError(f"{where}: x holds no features, its shape is {x.shape}")
  if not np.isfinite(x).all():
    bad = int((~np.isfinite(x)).reshape(len(x), -1).any(1).sum())
    raise UserError(f"{where}: {bad} records hold NaN or inf; remove them")
  if x.min() < 0 or x.max() > 1:
    what, mend = ("pixels", "divide 8-bit images by 255")
    if x.ndim == 2:
      what, mend = "features", "scale each column by its range"
    raise UserError(
      f"{where}: {what} must lie in [0, 1], found [{x.min():g}, {x.max():g}]; "
      f"{mend}"
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


# Largest value of images of each type that is scaled to [0, 1].
WHITE = {"uint8": 255, "uint16": 65535, "bool": 1}


def images(x: np.ndarray) -> np.ndarray:
  """Images (n, h, w[, c]) as float32 (n, h, w, c) in [0, 1], scaled by their
  type; floats stay as they are.

  Raises:
    UserError: a type whose range nobody knows.
  """
  x = x[..., None] if x.ndim == 3 else x
  if np.issubdtype(x.dtype, np.floating):
    return x.astype(np.float32)
  if x.dtype.name not in WHITE:
    raise UserError(
      f"images of type {x.dtype} have no known range; make them "
      f"{', '.join(WHITE)} or floats in [0, 1]"
    )
  return x.astype(np.float32) / WHITE[x.dtype.name]
