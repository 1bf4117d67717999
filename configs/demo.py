"""`make demo`: 4,000 shadow models on 5,000 real MNIST digits, minutes on CPU.

Four of the targets are then found almost exactly by simulating the training,
from where the reconstructor network has brought them.

python -m launch.run --config=configs/demo.py --workdir=runs/demo
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.stages = (
    "shadow",
    "reconstructor",
    "simulation",
    "evaluate",
    "report",
  )
  config.simulations.refined = dict(
    default.SIMULATION, targets=4, starts=("bilinear", "class_means"), steps=25
  )
  return default.quick(config) if default.is_quick(arg) else config
