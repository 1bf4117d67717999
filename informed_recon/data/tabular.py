"""Tables that come with scikit-learn, each column scaled to [0, 1].

`spec.name` is "breast_cancer" (569 x 30, 2 classes; the default), "wine"
(178 x 13, 3), "iris" (150 x 4, 3) or "diabetes" (442 x 10, a real response).
The scaling uses the whole table's range, which is taken as public.
"""

import numpy as np

from informed_recon import data
from informed_recon.types import Records, UserError

NAMES = ("breast_cancer", "diabetes", "iris", "wine")


def load(spec: data.DataSpec) -> data.Dataset:
  name = spec.name or NAMES[0]
  if name not in NAMES:
    raise UserError(
      f"unknown table {name!r}; known: {', '.join(NAMES)} "
      "(set it with --config.data.name=...)"
    )
  from sklearn import datasets

  x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
  low, high = x.min(0), x.max(0)
  x = (x - low) / (high - low)
  classes = 0 if name == "diabetes" else len(np.unique(y))
  return data.Dataset(name, Records(x, y), classes)
