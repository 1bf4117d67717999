"""Prepares a TFDS set from its original files, without TensorFlow.

informed-recon prepare --dataset=mnist --originals=FOLDER --data_dir=DIR
"""

from absl import flags

from . import app

_DATASET = flags.DEFINE_string(
  "dataset", None, "set to prepare: mnist, fashion_mnist or cifar10"
)
_ORIGINALS = flags.DEFINE_string(
  "originals", None, "folder with the original files"
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "TFDS directory to write; default: TFDS_DATA_DIR or TFDS's"
)

REQUIRED = ("dataset", "originals")


def main(argv):
  del argv
  import tensorflow_datasets as tfds

  from informed_recon.data import preparation

  where = preparation.prepare(
    _DATASET.value,
    _ORIGINALS.value,
    _DATA_DIR.value or str(tfds.core.constants.DATA_DIR),
  )
  print(f"prepared {_DATASET.value} in {where}")


if __name__ == "__main__":
  app.run(main, REQUIRED)
