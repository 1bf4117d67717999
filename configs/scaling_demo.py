"""Reconstruction error against the number of shadow models, on real digits.

The experiment of `demo` with 125 to 2,000 shadow models, three seeds each (of
split, initialisation and reconstructor). The models of a seed are trained
once: smaller sets are the first of the largest.

Measured: the error falls as N^-0.55 (95% interval 0.48 to 0.62), on two CPU
cores.

python -m launch.sweep --config=configs/scaling_demo.py --workdir=runs/scaling
"""

from informed_recon.configs import default

CURVE = "scaling"  # file name in informed_recon/report/curves/
SIZES = (125, 250, 500, 1000, 2000)
# Steps a reconstructor gets at least. With 30 epochs whatever the number of
# models, 125 of them would be 30 steps, and the curve would show too short a
# training rather than too few models.
STEPS = 2000


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Error against the number of shadow models"
  config.reconstructors.bilinear.patience = 0  # the best epoch is still taken
  return default.quick(config) if default.is_quick(arg) else config


def sweep(arg: str):
  """Largest first: its models are those of all the others."""
  if default.is_quick(arg):
    yield from points((75, 150, 300), seeds=2)
    return
  for point in points(SIZES, seeds=3):
    yield point | epochs(point["split.shadow"])


def points(sizes, seeds):
  for seed in range(seeds):
    for size in reversed(sizes):
      yield {"split.shadow": size, "split.seed": 42 + seed, "seed": seed}


def epochs(size: int) -> dict:
  """Enough for STEPS batches, and at least the default."""
  spec = default.BILINEAR_RECONSTRUCTOR
  batches = round(size * (1 - spec["holdout"])) // spec["batch_size"]
  least = -(-STEPS // batches)
  return {"reconstructors.bilinear.epochs": max(least, spec["epochs"])}
