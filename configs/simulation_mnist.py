"""The simulation attack in the public notebook's setting, on 100 targets.

`simulation` starts from the mean image of every class and needs no shadow
model; `refined` starts from what the reconstructor network says, which has
learned from 10,000. Neither is told the label. Success at eta: an MSE of 1e-3.
`:n10000` has ten times as many fixed records, 32 targets and `simulation`
alone, with a Jacobian made of 200 of them in every step. `:large` is
`simulation` alone on all 1,000 targets, for a GPU. Needs the TFDS set `mnist`.

Measured: `refined` ends at a median MSE of 2.2e-10, worst 4.0e-6. `:large`, one
H100: 96.5% [95.4, 97.6] of 1,000 found, 10 min. `:n10000`: 29 of 32 found, 25
min on two busy CPU cores.

python -m launch.run --config=configs/simulation_mnist.py --workdir=runs/sim
"""

from informed_recon.configs import default, mnist_notebook


def get_config(arg: str = ""):
  alone = arg in ("n10000", "large")
  config = mnist_notebook.get_config("" if alone else arg)
  config.title = "MNIST: simulating the training"
  config.stages = (
    "shadow",
    "reconstructor",
    "simulation",
    "evaluate",
    "report",
  )
  config.evaluation.eta = 1e-3
  for other in ("mlp", "notebook", "gram"):
    del config.reconstructors[other]
  config.simulations.simulation = dict(default.SIMULATION, targets=100)
  config.simulations.refined = dict(
    default.SIMULATION, targets=100, starts=("bilinear", "class_means")
  )
  if alone:
    config.stages = ("shadow", "simulation", "evaluate", "report")
    config.split.shadow = 0
    config.simulations.simulation.targets = 0
    del config.simulations.refined, config.reconstructors.bilinear
  if arg == "n10000":
    config.split.update(fixed=10_000, targets=32)
    config.simulations.simulation.sample = 200
    config.perf.simulation_batch = 8
  elif arg == "large":
    config.perf.simulation_batch = 400
  elif default.is_quick(arg):
    for spec in config.simulations.values():
      spec.update(targets=3, steps=20)
  return config
