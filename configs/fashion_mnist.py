"""Fashion-MNIST in the notebook's sizes, with every kind of reconstructor.

With --config.data.shadow=mnist the adversary's shadow targets are hand-written
digits: side knowledge of another kind than the target. Needs the TFDS set
`fashion_mnist`, and then `mnist`.

Measured on 1,000 targets: MSE 0.0020 [0.0017, 0.0024] by `conv`, the nearest-
neighbour oracle 0.0225 [0.0217, 0.0233]; 30 min on two busy CPU cores.

python -m launch.run --config=configs/fashion_mnist.py --workdir=runs/fashion
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Fashion-MNIST, the notebook's sizes"
  config.data.update(source="tfds", name="fashion_mnist")
  config.data.shadow = ""  # set to take the shadow targets from; "": the same
  config.split.update(accuracy=1000, targets=1000, fixed=1000, shadow=10_000)
  config.reconstructors.mlp = default.MLP_RECONSTRUCTOR
  config.reconstructors.conv = dict(default.CONV_RECONSTRUCTOR, epochs=30)
  config.reconstructors.conv.options.channels = 16
  config.perceptual = default.PERCEPTUAL
  return default.quick(config) if default.is_quick(arg) else config
