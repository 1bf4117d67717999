"""Colour images out of a network worth releasing: what the attacks get.

CIFAR-10, 5,000 fixed records, a convolutional network trained as one would:
mini-batches of 100, SGD with momentum, cosine schedule, weight decay 1e-3, 60
epochs. Initial weights and batch order are secret; 32 targets of unknown label,
no shadow model. `:known` has the simulation attack in place of that on
stationarity, for the adversary who knows initial weights and order: it wants an
accelerator. Needs the TFDS set `cifar10`.

Measured: not yet.

python -m launch.run --config=configs/cifar10_useful.py --workdir=runs/useful
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  known = arg == "known"
  config = default.get_config()
  config.title = "CIFAR-10: a network worth releasing"
  attack = "simulation" if known else "stationarity"
  config.stages = ("shadow", attack, "evaluate", "report")
  config.data.update(source="tfds", name="cifar10")
  config.split.update(accuracy=2000, targets=32, fixed=5000, shadow=0)
  config.threat.update(shared_init=known, shared_order=known)
  config.model.name = "convnet"
  config.model.options = dict(
    widths=(32, 64, 128), kernel=3, pooling="stride", activation="elu"
  )
  config.training.update(
    steps=3000, batch_size=100, schedule="cosine", learning_rate=0.03, l2=1e-3
  )
  config.evaluation.eta = 1e-3
  if known:
    config.simulations.simulation = dict(
      default.SIMULATION, cg_steps=20, cg_tolerance=0.1, optimism=0.3
    )
    config.perf.update(simulation_batch=2, simulation_remat=True)
  else:
    config.stationarity.stationarity = dict(default.STATIONARITY)
  del config.reconstructors.bilinear
  config.perf.chunk_models = 1
  if not known and default.is_quick(arg):
    config = default.quick(config)
    config.split.update(targets=8, fixed=50, shadow=0)
    config.model.options.widths = (4, 8)
    config.training.update(steps=60, batch_size=0, learning_rate=0.05)
    config.stationarity.stationarity.targets = 2
  return config
