"""What the stationarity attack finds, by how the released model was trained.

python -m bench.stationarity [--quick] [--trained] [--targets=100]
  [--minutes=0] [--row=0,3] [--keep=FILE]

Embedded MNIST digits, above 4,000 records the TFDS set. The attack sees no
initialisation and trains no shadow model.

  converged  784-W-10 trained on in float64 to a gradient of 1e-9, l2 = 1e-3;
             where that is long (1,000 known records and more, width 100), every
             tenth target has an initialisation of its own, and the nine after
             it are trained on from its model, their own record in its place
  trained    (--trained) 784-10-10 in float32: mini-batches of 100 in a secret
             order, SGD 0.1 with momentum 0.9, cosine schedule, 1,000 known
             records, by steps, l2 and activation

`below_oracle` counts answers nearer to the target than every known record.
`stated` is the median error (MSE) that the attack states of its own answers,
`self_check` the area under the ROC curve with which that error tells answers of
an MSE of at most 0.01 from the others. With `--minutes` a row ends with the
targets that were done by then; `--row` takes some rows alone, by number. A run
that is killed goes on with the next row of the same FILE.
"""

import functools
import time

import jax
import numpy as np
import optax
from absl import app, flags
from sklearn import metrics

from bench import resumed
from informed_recon import data, models, prng, splits, tree
from informed_recon.attacks import stationarity
from informed_recon.evaluation import baselines, roc
from informed_recon.training import ensemble, loop, recipe, stationary
from informed_recon.types import Records

_TRAINED = flags.DEFINE_bool("trained", False, "as people train, in float32")
_TARGETS = flags.DEFINE_integer("targets", 100, "of each setting")
_MINUTES = flags.DEFINE_float("minutes", 0.0, "of a row, about; 0: no limit")
_ROW = flags.DEFINE_list("row", [], "numbers of rows, from 0; empty: all")
flags.DEFINE_bool("quick", False, "three targets of one setting")
flags.DEFINE_string("keep", "", "file for the rows as well")
L2, EXACT, NEAR = 1e-3, 1e-6, 1e-2
CONVERGED = [  # known records, activation, width, targets an initialisation
  *((200, name, 10, 1) for name in ("elu", "tanh", "softplus")),
  (200, "elu", 30, 1),
  (200, "elu", 100, 10),
  *((1000, name, 10, 10) for name in ("elu", "tanh", "softplus")),
  (10_000, "elu", 10, 10),
]
TRAINED = [  # steps, l2, activation
  *((steps, L2, "elu") for steps in (2000, 6000, 20_000)),
  (20_000, L2, "relu"),
  (20_000, 1e-4, "elu"),
  (20_000, 0.0, "elu"),
]


def main(argv):
  del argv
  quick, count = flags.FLAGS.quick, _TARGETS.value
  make, cases = (trained, TRAINED) if _TRAINED.value else (converged, CONVERGED)
  if quick:
    cases = [(500, L2, "elu")] if _TRAINED.value else CONVERGED[:1]
  if _ROW.value:
    cases = [cases[int(row)] for row in _ROW.value]
  rows = {
    " ".join(map(str, (make.__name__, *case))): functools.partial(
      make, *case, 3 if quick else count
    )
    for case in cases
  }
  resumed(rows, flags.FLAGS.keep)


def network(activation: str, width: int, shape):
  """The model and its loss of one record."""
  options = dict(width=width, activation=activation)
  model = models.build("mlp", 10, shape, options)

  def loss(params, x, y):
    logits = model.apply(params, x[None])[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  return model, loss


def shared(known: int, count: int):
  """(known records, targets, the targets' ids), as every config splits."""
  spec = data.DataSpec("mnist_sample")
  if known > 4000:
    spec = data.DataSpec("tfds", name="mnist")
  records = data.load(spec).records
  cut = dict(accuracy=250, targets=100, fixed=known, shadow=0, seed=42)
  parts = splits.split(len(records.y), **cut)
  ids = parts.targets[:count]
  take = [Records(*(a[i] for a in records)) for i in (parts.fixed, ids)]
  return *take, ids


def converged(
  known: int, activation: str, width: int, share: int, count: int
) -> dict:
  fixed, targets, ids = shared(known, count)
  model, loss = network(activation, width, fixed.x.shape[1:])
  gradients, last = [], None

  def one(x, y, i):
    nonlocal last
    if len(gradients) % share == 0:
      last = model.init(jax.random.fold_in(prng.root(0), int(i)))
    together = np.append(fixed.x, x[None], 0), np.append(fixed.y, y)
    last, gradient = stationary.minimise(loss, last, *together, l2=L2)
    gradients.append(gradient)
    return last

  case = dict(
    known=known, activation=activation, width=width, an_initialisation=share
  )
  row = attacked(loss, one, fixed, targets, ids, L2)
  return case | dict(largest_gradient=max(gradients)) | row


def trained(steps: int, l2: float, activation: str, count: int) -> dict:
  fixed, targets, ids = shared(1000, count)
  model, loss = network(activation, 10, fixed.x.shape[1:])
  spec = recipe.Recipe(
    steps, 100, optimizer_options=dict(momentum=0.9), schedule="cosine"
  )
  threat = ensemble.Threat(shared_init=False, shared_order=False)
  # One by one: a step of many small models leaves the cache.
  train = jax.jit(ensemble.make_one(loop.make_train(model, spec), threat))
  like = jax.eval_shape(model.init, prng.root(0))

  def one(x, y, i):
    hparams = recipe.HParams(0.1, l2)
    row = train(prng.root(0), fixed, Records(x, y), np.int32(i), hparams)
    return tree.unflatten(row, like)

  case = dict(steps=steps, l2=l2, activation=activation)
  return case | attacked(loss, one, fixed, targets, ids, l2)


def attacked(loss, release, fixed: Records, targets: Records, ids, l2) -> dict:
  """What the attack says of `release(x, y, id)` of each target, in a row."""
  begin, found, seconds = time.monotonic(), [], []
  for x, y, i in zip(*targets, ids):
    params = jax.tree.map(np.asarray, release(x, y, i))
    start = time.perf_counter()
    found.append(stationarity.reconstruct(loss, params, *fixed, l2=l2))
    seconds.append(time.perf_counter() - start)
    if 0 < 60 * _MINUTES.value < time.monotonic() - begin:
      break
  targets = Records(*(a[: len(found)] for a in targets))
  # Where nothing can be said, the mean known record.
  blind = fixed.x.mean(0)
  guess = [np.where(np.isfinite(r.x), r.x, blind).clip(0, 1) for r in found]
  guess = np.array(guess, np.float32)
  pixels = tuple(range(1, guess.ndim))
  mse = np.mean((np.float64(guess) - targets.x) ** 2, pixels)
  oracle = baselines.nearest_neighbour_oracle(targets.x, fixed.x).mse
  own, null = roc.errors(targets.x, guess)
  label = np.array([r.y for r in found]) == targets.y
  vouched = np.array([r.identifiable for r in found])
  right = (mse <= EXACT) & label
  stated = np.array([np.mean(np.square(r.error)) for r in found])
  mixed = 0 < (mse <= NEAR).sum() < len(mse)
  return dict(
    targets=len(found),
    mse_median=float(np.median(mse)),
    exact=int((mse <= EXACT).sum()),
    at_most_1e_3=int((mse <= 1e-3).sum()),
    below_oracle=int((mse < oracle).sum()),
    tpr_at_1_percent=float(roc.tpr_at_fpr(own, null, 0.01)),
    labels_right=int(label.sum()),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((vouched & ~right).sum()),
    stated=float(np.median(stated)),
    self_check=metrics.roc_auc_score(mse <= NEAR, -stated) if mixed else None,
    seconds_a_target=float(np.median(seconds)),
  )


if __name__ == "__main__":
  app.run(main)
