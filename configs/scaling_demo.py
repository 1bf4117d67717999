"""Reconstruction error against the number of shadow models, on real digits.

The experiment of `demo` with 125 to 2,000 shadow models, three seeds each (of
split, initialisation and reconstructor). The models of a seed are trained
once: smaller sets are the first of the largest.

python -m launch.sweep --config=configs/scaling_demo.py --workdir=runs/scaling
"""

from configs import default

CURVE = "scaling"  # file name in informed_recon/curves/
SIZES = (125, 250, 500, 1000, 2000)


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Error against the number of shadow models"
  return default.quick(config) if default.is_quick(arg) else config


def sweep(arg: str):
  """Largest first: its models are those of all the others."""
  sizes, seeds = ((75, 150, 300), 2) if default.is_quick(arg) else (SIZES, 3)
  for seed in range(seeds):
    for size in reversed(sizes):
      yield {"split.shadow": size, "split.seed": 42 + seed, "seed": seed}
