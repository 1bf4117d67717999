"""What the stationarity attack finds, by how the released model was trained.

python -m bench.stationarity [--quick] [--trained] [--targets=100]
  [--minutes=0] [--row=0,3] [--keep=FILE]

Embedded MNIST digits, above 4,000 records the TFDS set. The attack sees no
initialisation and trains no shadow model.

  converged  784-W-10 trained on in float64 to a gradient of 1e-9, l2 = 1e-3;
             where that is long (1,000 known records and more), every tenth
             target has an initialisation of its own, and the nine after it are
             trained on from its model, their own record in its place
  trained    (--trained) 784-10-10 in float32: mini-batches of 100 in a secret
             order, SGD 0.1 with momentum 0.9, cosine schedule, 1,000 known
             records, by steps, l2 and activation

`below_oracle` counts answers nearer to the target than every known record.
`stated` is the median error (MSE) that the attack states of its own answers,
`self_check` the area under the ROC curve with which that error tells answers of
an MSE of at most 0.01 from the others. With `--minutes` a row ends with the
targets that were done by then; `--row` takes some rows alone, by number. A run
that is killed goes on with the same FILE; the answers of a row that is not
finished lie beside it.
"""

import functools
import os
import pathlib
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
COLUMNS = "guess", "label", "vouched", "stated", "gradient", "seconds"
CONVERGED = [  # known records, activation, width, targets an initialisation
  *((200, name, 10, 1) for name in ("elu", "tanh", "softplus")),
  (200, "elu", 30, 1),
  (200, "elu", 100, 1),
  *((1000, name, 10, 10) for name in ("elu", "tanh", "softplus")),
  (10_000, "elu", 10, 10),
  *((200, name, 100, 1) for name in ("tanh", "softplus")),
  (1000, "elu", 100, 10),
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
  count = 3 if quick else count
  files, rows = {}, {}
  for case in cases:
    name = " ".join(map(str, (make.__name__, *case)))
    name += "" if count == 100 else f", {count} targets"
    files[name] = begun(name)
    rows[name] = functools.partial(make, *case, count, files[name])
  resumed(rows, flags.FLAGS.keep)
  for path in files.values():  # of rows that are kept now
    if path:
      path.unlink(missing_ok=True)


def begun(name: str) -> pathlib.Path | None:
  """File of a row's answers so far."""
  if not flags.FLAGS.keep:
    return None
  keep = pathlib.Path(flags.FLAGS.keep)
  return keep.with_name(f"{keep.name}.{name.replace(' ', '_')}.npz")


@functools.cache
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
  known: int, activation: str, width: int, share: int, count: int, begun
) -> dict:
  fixed, targets, ids = shared(known, count)
  model, loss = network(activation, width, fixed.x.shape[1:])
  last = None

  def one(x, y, i):
    nonlocal last
    number = list(ids).index(i)
    if last is None or number % share == 0:
      first = int(ids[number - number % share])
      last = model.init(jax.random.fold_in(prng.root(0), first))
    together = np.append(fixed.x, x[None], 0), np.append(fixed.y, y)
    last, gradient = minimised(activation, width, last, *together)
    return last, gradient

  case = dict(
    known=known, activation=activation, width=width, an_initialisation=share
  )
  return case | attacked(loss, one, fixed, targets, ids, L2, begun)


def minimised(activation: str, width: int, params, x, y):
  """A stationary point near `params` and the norm of the gradient there, by a
  search in the records' span: with l2 > 0 the first layer's kernel lies in it
  at any such point, and of fewer numbers L-BFGS is quicker."""
  x = np.float64(x.reshape(len(x), -1))
  _, size, basis = np.linalg.svd(x, full_matrices=False)
  basis = basis[size > 1e-12 * size[0]].T  # (d, rank)
  _, loss = network(activation, width, basis.shape[1:])

  def first(params, function):
    layer = params["Dense_0"]
    return params | {"Dense_0": layer | {"kernel": function(layer["kernel"])}}

  small = first(params, lambda kernel: basis.T @ np.asarray(kernel))
  found, gradient = stationary.minimise(loss, small, x @ basis, y, l2=L2)
  return first(found, lambda kernel: basis @ np.asarray(kernel)), gradient


def trained(steps: int, l2: float, activation: str, count: int, begun) -> dict:
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
    return tree.unflatten(row, like), 0.0  # its gradient was not asked for

  case = dict(steps=steps, l2=l2, activation=activation)
  return case | attacked(loss, one, fixed, targets, ids, l2, begun)


def attacked(
  loss, release, fixed: Records, targets: Records, ids, l2, begun
) -> dict:
  """What the attack says of `release(x, y, id)` of each target, in a row."""
  begin, done = time.monotonic(), []
  if begun and begun.exists():
    with np.load(begun) as file:
      done = list(zip(*(file[name] for name in COLUMNS)))
  blind = fixed.x.mean(0)  # where nothing can be said
  for x, y, i in list(zip(*targets, ids))[len(done) :]:
    params, gradient = release(x, y, i)
    params = jax.tree.map(np.asarray, params)
    start = time.perf_counter()
    found = stationarity.reconstruct(loss, params, *fixed, l2=l2)
    seconds = time.perf_counter() - start
    guess = np.where(np.isfinite(found.x), found.x, blind).clip(0, 1)
    label, error = -1 if found.y is None else found.y, np.square(found.error)
    answer = guess, label, found.identifiable, error.mean(), gradient, seconds
    done.append(answer)
    if begun:
      part = begun.with_suffix(".part.npz")
      np.savez(part, **dict(zip(COLUMNS, map(np.array, zip(*done)))))
      os.replace(part, begun)
    if 0 < 60 * _MINUTES.value < time.monotonic() - begin:
      break
  targets = Records(*(a[: len(done)] for a in targets))
  guess, label, vouched, stated, gradient, seconds = map(np.array, zip(*done))
  guess = guess.astype(np.float32)
  pixels = tuple(range(1, guess.ndim))
  mse = np.mean((np.float64(guess) - targets.x) ** 2, pixels)
  oracle = baselines.nearest_neighbour_oracle(targets.x, fixed.x).mse
  own, null = roc.errors(targets.x, guess)
  label = label == targets.y
  right = (mse <= EXACT) & label
  mixed = 0 < (mse <= NEAR).sum() < len(mse)
  return dict(
    targets=len(done),
    largest_gradient=float(gradient.max()) if gradient.all() else None,
    mse_median=float(np.median(mse)),
    exact=int((mse <= EXACT).sum()),
    at_most_1e_3=int((mse <= 1e-3).sum()),
    below_oracle=int((mse < oracle).sum()),
    tpr_at_1_percent=float(roc.tpr_at_fpr(own, null, 0.01)),
    labels_right=int(label.sum()),
    labels_right_of_exact=int((label & (mse <= EXACT)).sum()),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((vouched & ~right).sum()),
    stated=float(np.median(stated)),
    self_check=metrics.roc_auc_score(mse <= NEAR, -stated.clip(0, 1e9))
    if mixed
    else None,
    seconds_a_target=float(np.median(seconds)),
  )


if __name__ == "__main__":
  app.run(main)
