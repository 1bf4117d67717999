"""CIFAR-10 and a convolutional network, for two CPU cores.

100 fixed records, 50 full-batch steps, 5,000 shadow models of 36,298
parameters. The sweep is the ablation of the reconstructor's loss: MAE + MSE,
with the perceptual term, with the adversarial one as well; its points share
their models, and `:ablation` leaves out the network it does not concern. The
weights are not tuned. Needs the TFDS set `cifar10`. With
--config.data.shadow=svhn_cropped the adversary's shadow targets are house
numbers.

Measured: MSE 0.0018 [0.0017, 0.0018] on 500 targets, the nearest-neighbour
oracle 0.0336 [0.0322, 0.0347]; 100 min on two busy CPU cores. `:ablation` with
1,000 shadow models and 200 targets: 38 min.

python -m launch.run --config=configs/cifar10_small.py --workdir=runs/cifar10
python -m launch.sweep --config=configs/cifar10_small.py:ablation \
  --workdir=runs/ablation
"""

from informed_recon.configs import default

CURVE = ""  # results.csv is the table


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "CIFAR-10, a small convolutional network"
  config.data.update(source="tfds", name="cifar10")
  config.data.shadow = ""  # set to take the shadow targets from; "": the same
  config.split.update(accuracy=1000, targets=500, fixed=100, shadow=5000)
  config.model.name = "convnet"
  config.model.options = dict(
    widths=(12, 48), kernel=3, pooling="stride", activation="elu"
  )
  config.training.update(steps=50, learning_rate=0.01)
  del config.reconstructors.bilinear
  config.reconstructors.conv = dict(
    default.CONV_RECONSTRUCTOR, epochs=40, ema=0.99
  )
  config.reconstructors.conv.options.channels = 16
  config.reconstructors.mlp = dict(default.MLP_RECONSTRUCTOR, epochs=20)
  config.perceptual = default.PERCEPTUAL
  config.evaluation.classifier.name = "convnet"
  config.evaluation.classifier.options = dict(
    widths=(16, 32, 64), kernel=3, pooling="mean", activation="elu"
  )
  config.perf.chunk_models = 100
  if arg == "ablation":
    del config.reconstructors.mlp
  elif default.is_quick(arg):
    config = default.quick(config)
    config.training.learning_rate = 0.05  # 20 steps of it learn something
    config.model.options.widths = (4, 8)
    config.evaluation.classifier.options.widths = (4, 8)
  return config


def sweep(arg: str):
  del arg
  for perceptual, adversarial in ((0.0, 0.0), (0.1, 0.0), (0.1, 0.01)):
    yield {
      "reconstructors.conv.perceptual_weight": perceptual,
      "reconstructors.conv.adversarial_weight": adversarial,
    }
