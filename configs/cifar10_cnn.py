"""CIFAR-10 at the paper's size: 5,000 fixed, 54,000 shadow models, a CNN.

The sizes are second-hand (the paper's body was not at hand), as is the loss:
MAE, MSE, a perceptual and an adversarial term. The 60,000 records leave none to
measure the released model's accuracy. The released models have 90,154
parameters, their store 20 GB. For an accelerator. Needs the TFDS set `cifar10`.
With --config.data.shadow=svhn_cropped the adversary's shadow targets are house
numbers: side knowledge of another kind than the target.

Measured: the quick form only.

python -m launch.run --config=configs/cifar10_cnn.py --workdir=runs/cifar10_cnn
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "CIFAR-10 at the paper's size"
  config.data.update(source="tfds", name="cifar10")
  config.data.shadow = ""  # set to take the shadow targets from; "": the same
  config.split.update(accuracy=0, targets=1000, fixed=5000, shadow=54_000)
  config.model.name = "convnet"
  config.model.options = dict(
    widths=(32, 64, 96), kernel=3, pooling="mean", activation="elu"
  )
  config.training.learning_rate = 0.01
  del config.reconstructors.bilinear
  config.reconstructors.conv = dict(
    default.CONV_RECONSTRUCTOR,
    epochs=100,
    perceptual_weight=0.1,
    adversarial_weight=0.01,
    ema=0.999,
    dtype="bfloat16",
  )
  config.perceptual = default.PERCEPTUAL
  config.evaluation.classifier.name = "convnet"
  config.evaluation.classifier.options = dict(config.model.options)
  config.perf.chunk_models = 100
  if default.is_quick(arg):
    config = default.quick(config)
    config.training.learning_rate = 0.05  # 20 steps of it learn something
    config.model.options.update(widths=(4, 8), pooling="stride")
    config.evaluation.classifier.options.widths = (4, 8)
  return config
