"""What privacy buys against reconstruction, from no noise to epsilon = 1.

MNIST, 1,000 fixed records, 784-10-10 released models trained by DP-GD; at each
epsilon 2,000 shadow models are trained just as privately and a reconstructor
learns from them. The recipe is the same at every epsilon; clip norm and rate
were chosen by the accuracy of models on records of another split. Needs the
TFDS set `mnist`.

Measured: worse than the mean image from epsilon = 1,000 down, at an accuracy
of 87.1% against 87.2% without noise; 49 min on two busy CPU cores. Figure:
docs/dp_curve.png.

python -m launch.sweep --config=configs/dp_curve.py --workdir=runs/dp_curve
"""

from informed_recon.configs import default

CURVE = "privacy"  # file name in informed_recon/report/curves/
# No more: above about 1,800 the noise needed for epsilon is so little that its
# reach in floating point would give the target away, and more is added.
EPSILONS = (1.0, 10.0, 100.0, 300.0, 1000.0)


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Reconstruction against the privacy of training"
  config.data.update(source="tfds", name="mnist")
  config.split.update(accuracy=1000, targets=500, fixed=1000, shadow=2000)
  config.training.learning_rate = 0.2
  config.training.privacy.mechanism = "dp_sgd"
  # At 0.005 a blind guess succeeds with probability below 0.05.
  config.evaluation.eta = 0.005
  return default.quick(config) if default.is_quick(arg) else config


def sweep(arg: str):
  """Clipping without noise is the end of the scale."""
  epsilons = (10.0, 1000.0) if default.is_quick(arg) else EPSILONS
  yield {"training.privacy.noise_multiplier": 0.0}
  for epsilon in sorted(epsilons, reverse=True):
    yield {"training.privacy.epsilon": epsilon}
