"""Reconstruction error against the number of shadow models, up to 59,000.

`:n1000` has the public notebook's fixed set and released model, a size for CPU
cores; its two largest sizes have one seed, the others three.
Without an argument it is MNIST at the paper's size (`mnist_paper`), three seeds
each: 177,000 shadow models on 10,000 records want an accelerator. Both need
the TFDS set `mnist`.

Measured, `:n1000`: the error falls as N^-0.48 (95% interval 0.45 to 0.51); 97
min on two busy CPU cores. Figure: docs/scaling_mnist.png. On a cluster:

python -m launch.sweep --config=configs/scaling_mnist.py \
  --workdir=runs/scaling_mnist --executor=slurm --jobs=8 \
  --option=gpus_per_node=1
"""

from informed_recon.configs import default, mnist_paper, scaling_demo

CURVE = "scaling"  # file name in informed_recon/report/curves/
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 59_000)


def get_config(arg: str = ""):
  config = mnist_paper.get_config("" if arg == "n1000" else arg)
  config.title = "MNIST: error against the number of shadow models"
  config.reconstructors.bilinear.patience = 0  # the best epoch is still taken
  if arg == "n1000":
    config.split.update(accuracy=1000, targets=1000, fixed=1000)
    config.training.learning_rate = 0.1
    del config.reconstructors.notebook
  return config


def sweep(arg: str):
  """Largest first: its models are those of all the others."""
  if arg != "n1000" and default.is_quick(arg):
    yield from scaling_demo.points((75, 150, 300), seeds=2)
    return
  for point in scaling_demo.points(SIZES, seeds=3):
    size = point["split.shadow"]
    if arg == "n1000" and point["seed"] and size > 10_000:
      continue
    yield point | scaling_demo.epochs(size)
