"""Reconstruction error against the number of shadow models, up to the paper's.

MNIST at the paper's size (`mnist_paper`) with 100 to 59,000 shadow models,
three seeds each. Needs the TFDS set `mnist`, and an accelerator or patience:
177,000 shadow models on 10,000 records each. On a cluster:

python -m launch.sweep --config=configs/scaling_mnist.py \
  --workdir=runs/scaling_mnist --executor=slurm --jobs=8 \
  --option=gpus_per_node=1
"""

from configs import default, mnist_paper

CURVE = "scaling"  # file name in informed_recon/curves/
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 59_000)


def get_config(arg: str = ""):
  config = mnist_paper.get_config(arg)
  config.title = "MNIST: error against the number of shadow models"
  return config


def sweep(arg: str):
  """Largest first: its models are those of all the others."""
  sizes, seeds = ((75, 150, 300), 2) if default.is_quick(arg) else (SIZES, 3)
  for seed in range(seeds):
    for size in reversed(sizes):
      yield {"split.shadow": size, "split.seed": 42 + seed, "seed": seed}
