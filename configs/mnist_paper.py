"""MNIST at the paper's size: 10,000 fixed, 59,000 shadow models.

The sizes and the learning rate of 0.2 are second-hand (the paper's body was
not at hand), and MNIST's 70,000 records leave none to measure the released
model's accuracy beside 10,000 + 59,000 + 1,000: here 500 evaluation targets
and 500 accuracy records share the thousand.

python -m launch.run --config=configs/mnist_paper.py --workdir=runs/paper
"""

from configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "MNIST at the paper's size"
  config.data.update(source="tfds", name="mnist")
  config.split.update(accuracy=500, targets=500, fixed=10_000, shadow=59_000)
  config.training.learning_rate = 0.2
  config.reconstructors.notebook = default.NOTEBOOK_RECONSTRUCTOR
  return default.quick(config) if default.is_quick(arg) else config
