"""What the stationarity attack finds, by how the released model was trained.

python -m bench.stationarity [--quick] [--trained] [--targets=100] [--keep=FILE]

Embedded MNIST digits; every released model has an initialisation of its own,
which the attack does not see, and no shadow model is trained.

  converged  784-W-10 trained on in float64 to a gradient of 1e-9, l2 = 1e-3
  trained    (--trained) 784-10-10 in float32: mini-batches of 100 in a secret
             order, SGD 0.1 with momentum 0.9, cosine schedule, 1,000 known
             records, by steps, l2 and activation

`below_oracle` counts answers nearer to the target than every known record.
`stated` is the median error (MSE) that the attack states of its own answers.
"""

import time

import jax
import numpy as np
import optax
from absl import app, flags

from bench import printed
from informed_recon import data, models, prng, splits, tree
from informed_recon.attacks import stationarity
from informed_recon.evaluation import baselines, roc
from informed_recon.training import ensemble, loop, recipe, stationary
from informed_recon.types import Records

_TRAINED = flags.DEFINE_bool("trained", False, "as people train, in float32")
_TARGETS = flags.DEFINE_integer("targets", 100, "of each setting")
flags.DEFINE_bool("quick", False, "three targets of one setting")
flags.DEFINE_string("keep", "", "file for the rows as well")
L2, EXACT = 1e-3, 1e-6
CONVERGED = [  # known records, activation, width
  *((200, name, 10) for name in ("elu", "tanh", "softplus")),
  (200, "elu", 100),
  (1000, "elu", 10),
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
  if _TRAINED.value:
    cases = [(500, L2, "elu")] if quick else TRAINED
    rows = (trained(*case, 3 if quick else count) for case in cases)
  else:
    cases = CONVERGED[:1] if quick else CONVERGED
    rows = (converged(*case, 3 if quick else count) for case in cases)
  printed(rows, flags.FLAGS.keep)


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
  records = data.load(data.DataSpec("mnist_sample")).records
  cut = dict(accuracy=250, targets=100, fixed=known, shadow=0, seed=42)
  parts = splits.split(len(records.y), **cut)
  ids = parts.targets[:count]
  take = [Records(*(a[i] for a in records)) for i in (parts.fixed, ids)]
  return *take, ids


def converged(known: int, activation: str, width: int, count: int) -> dict:
  fixed, targets, ids = shared(known, count)
  model, loss = network(activation, width, fixed.x.shape[1:])
  released, gradients = [], []
  for x, y, i in zip(*targets, ids):
    params, gradient = stationary.minimise(
      loss,
      model.init(jax.random.fold_in(prng.root(0), int(i))),
      *(np.append(fixed.x, x[None], 0), np.append(fixed.y, y)),
      l2=L2,
    )
    released.append(jax.tree.map(np.asarray, params))
    gradients.append(gradient)
  case = dict(case="converged", known=known, activation=activation, width=width)
  row = attacked(loss, released, fixed, targets, L2)
  return case | dict(largest_gradient=max(gradients)) | row


def trained(steps: int, l2: float, activation: str, count: int) -> dict:
  fixed, targets, ids = shared(1000, count)
  model, loss = network(activation, 10, fixed.x.shape[1:])
  spec = recipe.Recipe(
    steps, 100, optimizer_options=dict(momentum=0.9), schedule="cosine"
  )
  threat = ensemble.Threat(shared_init=False, shared_order=False)
  # One by one: a step of many small models leaves the cache.
  one = jax.jit(ensemble.make_one(loop.make_train(model, spec), threat))
  like = jax.eval_shape(model.init, prng.root(0))
  released = [
    jax.tree.map(
      np.asarray,
      tree.unflatten(
        one(
          prng.root(0),
          fixed,
          Records(x, y),
          np.int32(i),
          recipe.HParams(0.1, l2),
        ),
        like,
      ),
    )
    for x, y, i in zip(*targets, ids)
  ]
  case = dict(case="trained", steps=steps, l2=l2, activation=activation)
  return case | attacked(loss, released, fixed, targets, l2)


def attacked(loss, released, fixed: Records, targets: Records, l2) -> dict:
  """The attack's answers for all releases, in a row."""
  start = time.perf_counter()
  found = [
    stationarity.reconstruct(loss, params, *fixed, l2=l2) for params in released
  ]
  seconds = time.perf_counter() - start
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
    stated=float(np.median([np.mean(np.square(r.error)) for r in found])),
    seconds_a_target=seconds / len(found),
  )


if __name__ == "__main__":
  app.run(main)
