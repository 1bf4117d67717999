"""The simulation attack on a convolutional network, on colour images.

CIFAR-10, 100 fixed records, 50 full-batch steps, 32 targets of unknown label,
no shadow model. The network halves its images by 2x2 patches without overlap
and widens them, so that they can be read off its features one by one. Search
and network were set on two targets of another split (seed 43), where
overlapping patches and fewer features made it slower. `:large` has 200 fixed
records and searches 200 of 256 targets, for a GPU. Needs the TFDS set
`cifar10`.

Measured: median MSE 2.2e-4, worst 5.7e-4; 37 min on two busy CPU cores.
`:large`, one H100: all 200 found, median 1.8e-4, worst 8.7e-4.

python -m launch.run --config=configs/simulation_cifar10.py --workdir=runs/cifar
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "CIFAR-10: simulating the training of a convolutional network"
  config.stages = ("shadow", "simulation", "evaluate", "report")
  config.data.update(source="tfds", name="cifar10")
  config.split.update(accuracy=1000, targets=32, fixed=100, shadow=0)
  config.model.name = "convnet"
  config.model.options = dict(widths=(16, 96), kernel=2, pooling="stride")
  config.training.steps = 50
  config.training.learning_rate = 0.01
  config.evaluation.eta = 1e-3
  config.simulations.simulation = dict(
    default.SIMULATION,
    cg_steps=20,
    cg_tolerance=0.1,
    optimism=0.3,
    sample=20,
    converged=0.01,
  )
  del config.reconstructors.bilinear
  config.perf.simulation_batch = 2
  if arg == "large":
    config.split.update(targets=256, fixed=200)
    config.simulations.simulation.update(targets=200, sample=40)
    config.perf.simulation_batch = 64
  elif default.is_quick(arg):
    config = default.quick(config)
    config.split.update(shadow=0, fixed=30)
    config.simulations.simulation.targets = 3
    config.training.learning_rate = 0.05  # 20 steps of it learn something
    config.model.options = dict(widths=(4, 8), kernel=3, pooling="stride")
  return config
