"""Heads fine-tuned on private pictures: real CIFAR-10, 200 of them.

The extractor (three convolutions, 512 features) learns on 20,000 public
pictures' first five classes; a softmax head is fitted to its optimum on 200
private pictures of all ten, and one target. Its features come back in closed
form, and a linear map (`head_linear`) and a network (`head_network`), learned
on the public pictures, show them. `:noise` releases the head with Gaussian
noise. Needs the TFDS set `cifar10`.

python -m launch.run --config=configs/head_cifar10.py --workdir=runs/head
"""

from ml_collections import ConfigDict

from informed_recon.configs import default


def get_config(arg: str = ""):
  if arg not in ("", "noise", "quick"):
    raise ValueError(f"argument must be empty, noise or quick, got {arg!r}")
  config = default.get_config()
  config.title = "CIFAR-10: heads on frozen features"
  config.stages = ("head", "evaluate", "report")
  config.data.update(source="tfds", name="cifar10")
  config.split.update(accuracy=1000, targets=100, fixed=199, shadow=20_000)
  config.reconstructors = ConfigDict()
  config.head = ConfigDict(
    dict(
      classes=5,  # of the public pictures that the extractor learns on
      widths=(32, 64, 32),  # of its convolutions, each of stride 2
      epochs=3,
      l2=1.0,  # of the head, sum form
      noise=1e-3 if arg == "noise" else 0.0,  # standard deviation, added
      decoder=dict(
        options=dict(width=1000, depth=1),
        optimizer="adam",
        learning_rate=1e-3,
        schedule="cosine",
        epochs=6,
        batch_size=128,
        mae_weight=0.0,
        holdout=0.02,
      ),
    )
  )
  config.evaluation.classifier.epochs = 2
  if arg == "quick":
    config = default.quick(config)
    config.head.update(widths=(4, 4), epochs=1)
    config.head.decoder.update(epochs=2, batch_size=32, options=dict(width=16))
  return config
