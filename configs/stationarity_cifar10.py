"""A convolutional network on colour images, its initialisation secret.

CIFAR-10, 5,000 fixed records, mini-batches of 100 in a secret order, SGD with
momentum and weight decay 1e-3, 32 targets of unknown label, no shadow model.
No layer is fed by the record alone, so that it is searched for by its gradient
in all layers. Needs the TFDS set `cifar10`.

Measured: the quick form only.

python -m launch.run --config=configs/stationarity_cifar10.py \
  --workdir=runs/stationarity
"""

from informed_recon.configs import default

TITLE = "CIFAR-10: what a stationary point of a CNN gives away"


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = TITLE
  config.stages = ("shadow", "stationarity", "evaluate", "report")
  config.data.update(source="tfds", name="cifar10")
  config.split.update(accuracy=1000, targets=32, fixed=5000, shadow=0)
  config.threat.update(shared_init=False, shared_order=False)
  config.model.name = "convnet"
  config.model.options = dict(
    widths=(16, 32, 64), kernel=3, pooling="stride", activation="elu"
  )
  config.training.update(
    steps=2500, batch_size=100, schedule="cosine", learning_rate=0.03, l2=1e-3
  )
  config.evaluation.eta = 1e-3
  config.stationarity.stationarity = dict(default.STATIONARITY)
  del config.reconstructors.bilinear
  config.perf.chunk_models = 1
  if default.is_quick(arg):
    config = default.quick(config)
    config.split.update(targets=8, fixed=50, shadow=0)
    config.model.options.widths = (4, 8)
    config.training.update(steps=60, batch_size=0, learning_rate=0.05)
    config.stationarity.stationarity.targets = 2
  return config
