"""Reach of the attack on stationary weights: each point changes one thing.

Embedded MNIST digits, 1,000 fixed records, 784-10-10 ELU, mini-batches of 100
in a secret order, a secret initialisation, SGD 0.1 with momentum 0.9, a cosine
schedule, weight decay 1e-3, 20,000 steps, 24 targets, no shadow model.
results.csv has success, TPR at 1% FPR and the share declined of every point.
Success at eta: an MSE of 1e-3.

Measured: results/stationarity_reach, docs/stationarity.md; 2 hours on one busy
CPU core.

python -m launch.sweep --config=configs/stationarity_reach.py \
  --workdir=runs/reach
"""

from informed_recon.configs import default, stationarity_mnist

CURVE = "reach"  # file name in informed_recon/report/curves/


def get_config(arg: str = ""):
  config = stationarity_mnist.get_config(
    "quick" if default.is_quick(arg) else ""
  )
  config.title = config.title.replace("what", "how far; what")
  config.evaluation.eta = 1e-3
  if not default.is_quick(arg):
    config.split.targets = 24
  return config


def sweep(arg: str):
  if default.is_quick(arg):
    yield {"training.steps": 2000}
    yield {"training.steps": 200}
    return
  for steps in (2000, 6000, 20_000, 60_000):
    yield {"training.steps": steps}
  for l2 in (0.0, 1e-4, 3e-4, 3e-3):
    yield {"training.l2": l2}
  yield {"split.fixed": 200}
  yield {"split.fixed": 3000}
  yield {"training.batch_size": 0}
  yield {"training.batch_size": 20}
  yield {"model.options.width": 30}
  yield {"model.options.width": 100}
  for activation in ("tanh", "softplus", "relu"):
    yield {"model.options.activation": activation}
  yield {
    "training.optimizer": "adam",
    "training.learning_rate": 1e-3,
  }
