"""The simulation attack on a convolutional network, on colour images.

CIFAR-10, 100 fixed records, 50 full-batch steps, 32 targets of unknown label,
no shadow model. Needs the TFDS set `cifar10`.

python -m launch.run --config=configs/simulation_cifar10.py --workdir=runs/cifar
"""

from configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "CIFAR-10: simulating the training of a convolutional network"
  config.stages = ("shadow", "simulation", "evaluate", "report")
  config.data.update(source="tfds", name="cifar10")
  config.split.update(accuracy=1000, targets=32, fixed=100, shadow=0)
  config.model.name = "convnet"
  config.model.options = dict(widths=(12, 48), kernel=3, pooling="stride")
  config.training.steps = 50
  config.training.learning_rate = 0.01
  config.evaluation.eta = 1e-3
  config.simulations.simulation = dict(default.SIMULATION)
  del config.reconstructors.bilinear
  config.perf.simulation_batch = 1
  if default.is_quick(arg):
    config = default.quick(config)
    config.split.update(shadow=0, fixed=30)
    config.simulations.simulation.targets = 3
    config.training.learning_rate = 0.05  # 20 steps of it learn something
    config.model.options = dict(widths=(4, 8), kernel=3, pooling="stride")
  return config
