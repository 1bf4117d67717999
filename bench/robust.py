"""Clean and robust accuracy of adversarial training with selected records.

python -m bench.robust [--quick] [--keep=FILE]

MNIST (the TFDS set; --quick: 8x8 digits), 10,000 records, 784-100-10 ReLU, SGD
0.1 with momentum 0.9, 1,500 mini-batches of 128, radius 0.1 in every pixel.
Trained by the mechanism `robust` with FGSM or PGD on a fraction of each batch;
fraction 1 is adversarial training of all, 0 plain training. Robust accuracy is
against 20 steps of PGD. `relative_cost` is the time of a run over that of full
adversarial training with the same attack, compilation apart.
"""

import time

import jax
import numpy as np
from absl import app, flags

from bench import printed
from informed_recon import data, models, prng
from informed_recon.training import ensemble, loop
from informed_recon.training.mechanisms import robust
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records

flags.DEFINE_bool("quick", False, "one seed of small digits, a few steps")
flags.DEFINE_string("keep", "", "file for the rows as well")
RADIUS = 0.1
FRACTIONS = (0.0, 0.1, 0.25, 0.5, 1.0)
ATTACKS = {"fgsm": 1, "pgd": 5}  # steps
JUDGE = robust.Options(steps=20, radius=RADIUS)


def main(argv):
  del argv
  quick = flags.FLAGS.quick
  spec = data.DataSpec("digits") if quick else data.DataSpec("tfds", "mnist")
  dataset = data.load(spec)
  order = np.random.default_rng(42).permutation(len(dataset.records.y))
  n, m = (500, 500) if quick else (10_000, 5000)
  training, test = (
    Records(*(np.asarray(a)[i] for a in dataset.records))
    for i in (order[:n], order[n : n + m])
  )
  model = models.build(
    "mlp", 10, dataset.shape, dict(width=100, activation="relu")
  )
  printed(rows(model, training, test, quick), flags.FLAGS.keep)


def rows(model, training, test, quick):
  for name, steps in ATTACKS.items():
    whole = None
    for fraction in reversed(FRACTIONS):
      row = measured(model, training, test, fraction, steps, quick)
      whole = whole or row["seconds"]
      relative = row["seconds"] / whole
      yield (
        dict(case=f"{name}, fraction {fraction}", relative_cost=relative) | row
      )


def measured(model, training, test, fraction, steps, quick) -> dict:
  recipe = Recipe(
    steps=50 if quick else 1500,
    batch_size=32 if quick else 128,
    optimizer_options=dict(momentum=0.9),
    mechanism="robust",
    mechanism_options=dict(fraction=fraction, steps=steps, radius=RADIUS),
  )
  train = jax.jit(loop.make_train(model, recipe))
  fixed = Records(*(a[:-1] for a in training))
  target = Records(*(a[-1] for a in training))
  clean, attacked, seconds = [], [], []
  for seed in range(1 if quick else 3):
    keys = ensemble.model_keys(prng.root(seed), ensemble.Threat(), 0)
    given = keys, fixed, target, HParams(0.1)
    if not seed:
      jax.block_until_ready(train(*given))
    begin = time.perf_counter()
    params = jax.block_until_ready(train(*given))
    seconds.append(time.perf_counter() - begin)
    moved = jax.jit(robust.attack, static_argnums=(0, 4))(
      *(model, params, *test, JUDGE)
    )
    for found, x in ((clean, test.x), (attacked, moved)):
      found.append(float(np.mean(model.apply(params, x).argmax(-1) == test.y)))
  return dict(
    clean=clean,
    robust=attacked,
    clean_mean=float(np.mean(clean)),
    robust_mean=float(np.mean(attacked)),
    seconds=float(np.median(seconds)),
  )


if __name__ == "__main__":
  app.run(main)
