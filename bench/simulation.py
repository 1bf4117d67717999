"""The simulation attack's search beside a solver library's, and its price.

python -m bench.simulation [--quick] [--targets=12] [--keep=FILE]

The public notebook's network (784-10-10 ELU, 100 full-batch steps of SGD with
momentum) on 200 and on 1,000 embedded MNIST digits. The label is given and the
start is the mean known record of that class; one target at a time, compiled
before the clock starts:

  ours         attacks/simulation.py as configured by default
  unbounded    the same, pixels not kept in [0, 1]
  optimistix   its LevenbergMarquardt with lineax's CG on the normal equations,
               matrix-free, residuals as shares of the target's mark; it has no
               bounds and cannot stop CG early, so it is shown at two tolerances

`found` counts MSEs up to 1e-3. `label_unknown` is the attack as a whole, ten
labels to try, and `shadows` how many shadow models are trained in the time that
it takes for one target. Rows of optimistix only where it is installed.

With --jacobian, instead: how far a derivative that looks at a sample of the
fixed records (`attacks/simulation/sampled.py`) is from the whole one, along a
random direction of the target's pixels, as a share of it.
"""

import importlib.util
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved, printed
from bench.shadow_training import CLASSES, OPTIONS, RATE, STEPS, shuffled
from informed_recon import data, models, prng
from informed_recon.attacks import simulation
from informed_recon.training import ensemble, loop, recipe
from informed_recon.types import Records

_TARGETS = flags.DEFINE_integer("targets", 12, "of each setting")
_JACOBIAN = flags.DEFINE_bool("jacobian", False, "of samples of the fixed set")
SUCCESS = 1e-3
TOLERANCES = (0.03, 1e-3)  # of the library's conjugate gradients
LONGEST = 60  # outer steps
SAMPLES = 500, 200, 50, 20
SHADOWS = 512


def main(argv):
  del argv
  records = shuffled(data.DataSpec("mnist_sample"))
  sizes = (200,) if flags.FLAGS.quick else (200, 1000)
  kind = sampled if _JACOBIAN.value else measure
  rows = (row for n in sizes for row in kind(records, n, _TARGETS.value))
  printed(rows, flags.FLAGS.keep)


def training(shape: tuple[int, ...], sample: int = 0):
  """Of the network and the recipe above."""
  model = models.build("mlp", CLASSES, shape, dict(width=10))
  spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS)
  gradient = simulation.sampled_gradient(model, spec, sample)
  return loop.make_train(model, spec, gradient=gradient)


def sampled(records: Records, n: int, count: int):
  """Rows of one size of the fixed set: errors of J v for sampled J, of one
  target."""
  del count
  fixed = Records(*(jnp.asarray(a[:n]) for a in records))
  x, y = jnp.asarray(records.x[n]), records.y[n]
  along = jax.random.normal(prng.root(1), x.shape)

  def product(sample):
    one = ensemble.make_one(training(x.shape, sample), ensemble.Threat())

    def end(fixed, x):
      target = Records(x, y)
      return one(prng.root(0), fixed, target, 0, recipe.HParams(RATE))

    jvp = jax.jit(lambda f, x: jax.jvp(lambda z: end(f, z), (x,), (along,))[1])
    return np.asarray(jvp(fixed, x))

  whole = product(0)
  for sample in (s for s in SAMPLES if s < n):
    error = np.linalg.norm(product(sample) - whole) / np.linalg.norm(whole)
    yield dict(n=n, sample=sample, relative_error=float(error))


def measure(records: Records, n: int, count: int):
  """Rows of one size of the fixed set; one target more warms every solver."""
  fixed = Records(*(jnp.asarray(a[:n]) for a in records))
  targets = Records(*(a[n : n + count + 1] for a in records))
  train = training(fixed.x.shape[1:])
  root, hparams = prng.root(0), recipe.HParams(RATE)
  one = ensemble.make_one(train, ensemble.Threat())

  def simulate(fixed, target, model_id):
    return one(root, fixed, target, model_id, hparams)

  given = ensemble.make_ensemble(train, ensemble.Threat()), root, fixed
  theta, _ = shadow_models(*given, targets, hparams)
  base = np.asarray(jax.jit(lambda: simulate(fixed, None, 0))())
  of_class = np.asarray(fixed.y)
  means = np.stack(
    [np.asarray(fixed.x)[of_class == k].mean(0) for k in range(CLASSES)]
  )

  def ours(known, **settings):
    labels = np.arange(CLASSES, dtype=np.int32)
    release = simulation.Release(
      *(theta, np.tile(base, (len(theta), 1)), np.zeros(len(theta), np.int32))
    )

    def candidates(i):
      some = targets.y[i : i + 1] if known else labels
      return means[some], some

    search = simulation.Search(steps=LONGEST, **settings)
    found = simulation.reconstruct(
      *(simulate, fixed, release, candidates, search), batch=1
    )
    for _, answer in found:
      yield answer.x

  def library(tolerance):
    solve = levenberg_marquardt(simulate, fixed, base, tolerance)
    for end, y in zip(theta, targets.y):
      yield np.asarray(solve(end, means[y], y))

  solvers = dict(ours=ours(True), unbounded=ours(True, bounds=None))
  if importlib.util.find_spec("optimistix"):
    for tolerance in TOLERANCES:
      solvers[f"optimistix, CG to {tolerance:g}"] = library(tolerance)
  solvers["label_unknown"] = ours(False)
  for name, answers in solvers.items():
    row = score(answers, targets.x)
    yield dict(n=n, targets=count, solver=name) | row
  some = Records(*(a[-SHADOWS:] for a in records))
  _, rate = shadow_models(*given, some, hparams)
  shadows = rate * row["seconds_a_target"]
  yield dict(n=n, shadows_a_second=rate, shadows_a_target=shadows)


def score(answers: Iterator[np.ndarray], truths: np.ndarray) -> dict:
  errors, seconds = [], []
  clock = time.perf_counter()
  for answer, truth in zip(answers, truths):
    seconds.append(time.perf_counter() - clock)
    errors.append(np.mean((answer - truth) ** 2))
    clock = time.perf_counter()
  errors = np.array(errors[1:])
  return dict(
    seconds_a_target=float(np.mean(seconds[1:])),
    mse_median=float(np.median(errors)),
    found=int((errors <= SUCCESS).sum()),
  )


def levenberg_marquardt(simulate, fixed, base, tolerance):
  """(θ, start, label) -> record, by optimistix, compiled once."""
  import lineax
  import optimistix

  solver = optimistix.LevenbergMarquardt(
    rtol=1e-5,
    atol=1e-5,
    linear_solver=lineax.Normal(lineax.CG(rtol=tolerance, atol=1e-9)),
  )

  @jax.jit
  def solve(theta, start, label):
    gap = jnp.linalg.norm(theta - base)

    def residuals(x, _):
      return (simulate(fixed, Records(x, label), 0) - theta) / gap

    return optimistix.least_squares(
      *(residuals, solver, start), max_steps=LONGEST, throw=False
    ).value

  return solve


def shadow_models(many, root, fixed, targets: Records, hparams):
  """Trains a model on each target; the parameters, and models a second."""
  ids = np.arange(len(targets.y), dtype=np.int32)
  block = ensemble.block_size(many, root, fixed, targets, hparams)
  given = many, root, fixed, targets, ids, hparams, block
  seconds = interleaved({"": lambda: list(ensemble.train_blocks(*given))}, 1)
  rows = np.concatenate(list(ensemble.train_blocks(*given)))
  return rows, len(ids) / seconds[""]


if __name__ == "__main__":
  app.run(main)
