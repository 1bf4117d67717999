"""Smooth random blobs, a centre a class: for tests of shapes, not of claims.

`spec.name` gives the shape, such as "12x12x3"; empty means 8x8x1.
"""

import numpy as np

from informed_recon import data
from informed_recon.types import Records, UserError

NUM_RECORDS, NUM_CLASSES = 600, 4


def load(spec: data.DataSpec) -> data.Dataset:
  try:
    h, w, c = (int(s) for s in (spec.name or "8x8x1").split("x"))
  except ValueError:
    raise UserError(
      f"fake data: name must look like 8x8x1, got {spec.name!r}"
    ) from None
  rng = np.random.default_rng(0)
  y = rng.integers(NUM_CLASSES, size=NUM_RECORDS)
  centre = rng.uniform(0.2, 0.8, (NUM_CLASSES, 2))[y]
  centre = centre + rng.normal(0, 0.08, centre.shape)
  rows, cols = np.mgrid[0:h, 0:w]
  grid = np.stack([rows / h, cols / w], -1)
  square = ((grid[None] - centre[:, None, None]) ** 2).sum(-1)
  tint = rng.uniform(0.5, 1, (NUM_RECORDS, 1, 1, c))
  x = np.exp(-square / 0.03)[..., None] * tint
  records = Records(x.astype(np.float32), y.astype(np.int32))
  return data.Dataset(f"fake_{h}x{w}x{c}", records, NUM_CLASSES)
