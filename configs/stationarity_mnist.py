"""The record out of weights whose initialisation and batch order are secret.

Embedded MNIST digits, 1,000 fixed records, 784-10-10 ELU, mini-batches of 100,
weight decay 1e-3, 20,000 steps, 100 targets of unknown label; the adversary
knows the objective and no more of the training, and trains no shadow model.
`:converged` has models trained on to a stationary point in float64, 1,000 fixed
records. Success at eta: an MSE of 1e-6, exact.

Measured: the quick form only; `python -m bench.stationarity` has the same
setting, and docs/stationarity.md what it found.

python -m launch.run --config=configs/stationarity_mnist.py --workdir=runs/stat
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  converged = arg == "converged"
  config = default.get_config()
  config.title = "MNIST digits: what a stationary point gives away"
  config.stages = ("shadow", "stationarity", "evaluate", "report")
  config.split.update(accuracy=250, targets=100, fixed=1000, shadow=0)
  config.threat.update(shared_init=False, shared_order=False)
  config.training.update(
    steps=20_000, batch_size=100, schedule="cosine", l2=1e-3
  )
  config.evaluation.eta = 1e-6
  config.stationarity.stationarity = dict(default.STATIONARITY)
  del config.reconstructors.bilinear
  if converged:
    config.training.steps = 2000
    config.stationarity.stationarity.update(tolerance=1e-9, l2=1e-3)
  elif default.is_quick(arg):
    config = default.quick(config)
    config.split.update(targets=8, shadow=0)
    config.training.update(steps=2000, batch_size=0, l2=1e-2)
    config.stationarity.stationarity.targets = 4
  return config
