"""Scikit-learn's 1,797 hand-written digits, 8x8 pixels with 17 grey levels."""

import numpy as np

from informed_recon import data
from informed_recon.types import Records


def load(spec: data.DataSpec) -> data.Dataset:
  del spec  # nothing to choose
  from sklearn.datasets import load_digits

  x, y = load_digits(return_X_y=True)
  x = (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
  return data.Dataset("digits", Records(x, y.astype(np.int32)), 10)
