"""Prepares a TFDS set from its original files, without TensorFlow.

python -m launch.prepare --dataset=mnist --originals=FOLDER --data_dir=DIR
"""

import tensorflow_datasets as tfds
from absl import flags

from informed_recon.data import preparation
from launch import app

_DATASET = flags.DEFINE_enum(
  "dataset", None, sorted(preparation.SETS), "set to prepare", required=True
)
_ORIGINALS = flags.DEFINE_string(
  "originals", None, "folder with the original files", required=True
)
_DATA_DIR = flags.DEFINE_string(
  "data_dir", None, "TFDS directory to write; default: TFDS_DATA_DIR or TFDS's"
)


def main(argv):
  del argv
  where = preparation.prepare(
    _DATASET.value,
    _ORIGINALS.value,
    _DATA_DIR.value or str(tfds.core.constants.DATA_DIR),
  )
  print(f"prepared {_DATASET.value} in {where}")


if __name__ == "__main__":
  app.run(main)
