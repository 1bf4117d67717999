"""Training records out of a classifier's weights, no record known.

python -m bench.kkt [--quick] [--keep=FILE]

Networks 784-1000-1 (odd or even) and 784-1000-10, ReLU, biases in the first
layer alone, learn 20 to 100 embedded MNIST digits, the mean of other digits
taken off, by full-batch gradient descent on a faster clock (`kkt.network`) to a
mean loss of e^-100. `attacks/kkt` looks for twice as many records, in the span
of the first layer's kernel, with 16 choices of scales and rates.

  found    records with an answer of SSIM > 0.4
  control  the same records, and the answers from a model of other records
  mixed    answers of the right model beyond those of the records found

Whole columns: SSIM and correlation of the median record, and seconds a record.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import resumed
from informed_recon import data
from informed_recon.attacks import kkt
from informed_recon.attacks.kkt import network
from informed_recon.evaluation.coverage import coverage

flags.DEFINE_bool("quick", False, "one small model")
flags.DEFINE_string("keep", "", "file of rows, which are not measured again")
CASES = ((2, 20), (10, 50), (10, 20), (2, 50), (10, 100))
LOSS = float(np.exp(-80.0))
FOUND = 0.4  # SSIM
WIDTH = 1000


def main(argv):
  del argv
  quick = flags.FLAGS.quick
  cases = ((2, 10),) if quick else CASES
  width = 100 if quick else WIDTH
  resumed(
    {
      f"{classes} classes, {n} records": lambda c=classes, n=n: row(c, n, width)
      for classes, n in cases
    },
    flags.FLAGS.keep,
  )


def drawn(classes: int, n: int, seed: int):
  """(x (n, 28, 28, 1), y (n,), mean of all others), classes balanced."""
  x, y = data.load(data.DataSpec("mnist_sample")).records
  y = y % classes
  order = np.random.default_rng(seed).permutation(len(y))
  ids = [order[y[order] == c][: n // classes] for c in range(classes)]
  ids = np.concatenate(ids)
  return x[ids], y[ids], np.delete(x, ids, 0).mean(0)


def attacked(classes: int, n: int, seed: int, width: int):
  """(records, images found, residual, seconds, log loss) of one model."""
  x, y, mean = drawn(classes, n, seed)
  outputs = 1 if classes == 2 else classes
  params = network.init(jax.random.key(seed), (784, width, outputs))
  centred = jnp.asarray((x - mean).reshape(n, -1))
  params, log_loss = network.train(params, centred, jnp.asarray(y), loss=LOSS)
  begin, middle = time.perf_counter(), mean.ravel()
  found = kkt.reconstruct(
    network.apply,
    params,
    2 * n,
    first="kernel0",
    bounds=(-middle, 1 - middle),
  )
  seconds = time.perf_counter() - begin
  images = np.clip(found.x.reshape(-1, *x.shape[1:]) + mean, 0, 1)
  return x, images, found, seconds, log_loss


def row(classes: int, n: int, width: int) -> dict:
  x, images, found, seconds, log_loss = attacked(classes, n, 0, width)
  other = attacked(classes, n, 1, width)[1]
  ours, control = coverage(images, x), coverage(other, x)
  hit = ours.ssim > FOUND
  return dict(
    found=int(hit.sum()),
    control=int((control.ssim > FOUND).sum()),
    of=n,
    answers=ours.answers,
    ssim_median=float(np.median(ours.ssim)),
    control_ssim_median=float(np.median(control.ssim)),
    correlation_median=float(np.median(ours.correlation)),
    control_correlation_median=float(np.median(control.correlation)),
    log_loss=log_loss,
    residual=found.residual,
    settings=found.settings._asdict(),
    seconds_a_record=seconds / n,
  )


if __name__ == "__main__":
  app.run(main)
