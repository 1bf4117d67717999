"""One set of released models, four adversaries: for docs/threats.md.

The demo's setting (embedded MNIST sample, 500 fixed records, 784-10-10 ELU, 100
full-batch steps). 200 released models are attacked by a reconstructor network
with 2,000 shadow models and by ridge regression; twelve of them by simulating
the training, from the class means alone; and twelve are trained on to a
stationary point, where the recipe is not needed.

Measured: docs/threats.md, which `informed-recon threats` writes from
results/threats and bench/results.

python -m launch.run --config=configs/threats.py --workdir=runs/threats
"""

from informed_recon.configs import default, demo

TARGETS = 12  # of the attacks that take seconds each


def get_config(arg: str = ""):
  config = demo.get_config()
  config.title = "One set of models, four adversaries"
  config.split.update(targets=200, shadow=2000)
  config.simulations = dict(
    simulation=dict(default.SIMULATION, targets=TARGETS)
  )
  config.stationarity.converged.targets = TARGETS
  config.reconstructors.gram.epochs = 20
  return default.quick(config) if default.is_quick(arg) else config
