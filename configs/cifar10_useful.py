"""Colour images out of a network worth releasing: what the attacks get.

CIFAR-10, 5,000 fixed records, a convolutional network trained as one would:
1,500 mini-batches of 100 (30 epochs), SGD with momentum, cosine schedule,
weight decay 3e-3; half of new images are classified right. Initial weights and
batch order are secret; 32 targets of unknown label, no shadow model. `:known`
has the simulation attack in place of that on stationarity, for the adversary
who knows initial weights and order; both want an accelerator. Needs the TFDS
set `cifar10`.

Measured: docs/stationarity.md has, by `bench.useful`, what its released models
can give away.

python -m launch.run --config=configs/cifar10_useful.py --workdir=runs/useful
"""

from informed_recon.configs import default, stationarity_cifar10

TITLE = "CIFAR-10: a network worth releasing"


def get_config(arg: str = ""):
  known = arg == "known"
  config = stationarity_cifar10.get_config("" if known else arg)
  config.title = config.title.replace(stationarity_cifar10.TITLE, TITLE)
  if known or not default.is_quick(arg):
    config.split.accuracy = 2000
    config.model.options.pooling = "mean"
    config.training.update(steps=1500, learning_rate=0.05, l2=3e-3)
  if known:
    config.stages = ("shadow", "simulation", "evaluate", "report")
    config.threat.update(shared_init=True, shared_order=True)
    config.stationarity = dict()
    config.simulations.simulation = dict(
      default.SIMULATION, cg_steps=20, cg_tolerance=0.1, optimism=0.3
    )
    config.perf.update(simulation_batch=2, simulation_remat=True)
  return config
