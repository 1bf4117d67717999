"""Does identifiability, computed before any search, tell what a search finds?

python -m bench.identifiability [--quick] [--sets] [--keep=FILE]

Networks 64-h-10 learn 200 digits of scikit-learn in 60 full-batch steps. Of
each release some of the numbers are seen, rounded to some format; a search by
simulation (label known, from the mean of its class) looks for one record.
Predicted is the rms error a pixel where all that is known of one beforehand is
its spread within a class; the search succeeds at an MSE of 1e-3. One row a
width and view, and the AUC of the prediction over all searches. With --sets k
records are unknown at once and a row is a width, view and k; where fewer
numbers are seen than are unknown, the search refuses, and none is found.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from scipy import optimize
from sklearn import metrics
from sklearn.datasets import load_digits

from bench import printed
from informed_recon.attacks import sets, simulation
from informed_recon.attacks.identifiability import View, identifiability
from informed_recon.types import Records, UserError

_QUICK = flags.DEFINE_bool("quick", False, "one width, 2 records a view")
_SETS = flags.DEFINE_bool("sets", False, "several records at once")
_KEEP = flags.DEFINE_string("keep", "", "file to write the rows to as well")
N, STEPS, FOUND = 200, 60, 1e-3**0.5
WIDTHS = (2, 4, 10)
VIEWS = {
  "all": View(),
  "first layer": View(("first",)),
  "last layer": View(("last",)),
  "biases": View(("first/b", "last/b")),
  "all, bfloat16": View(rounding="bfloat16"),
  "first layer, bfloat16": View(("first",), "bfloat16"),
  "all, int8": View(rounding="int8"),
}


def network(width: int, x, y):
  """u (k, 64), the first k records in place of x's -> parameters."""
  keys = jax.random.split(jax.random.key(0))
  start = dict(
    first=dict(
      w=jax.random.normal(keys[0], (64, width)) / 8, b=jnp.zeros(width)
    ),
    last=dict(w=jax.random.normal(keys[1], (width, 10)) / 2, b=jnp.zeros(10)),
  )

  def train(x):
    def loss(p):
      hidden = jax.nn.elu(x @ p["first"]["w"] + p["first"]["b"])
      logits = hidden @ p["last"]["w"] + p["last"]["b"]
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean()

    def step(p, _):
      return jax.tree.map(lambda a, g: a - 0.5 * g, p, jax.grad(loss)(p)), None

    return jax.lax.scan(step, start, None, STEPS)[0]

  return lambda u, i: train(jnp.asarray(x).at[i].set(u))


def picked(params, view: View):
  """What a view shows, as one vector."""
  flat = {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }
  names = [
    name
    for name in flat
    if not view.leaves
    or any(name == a or name.startswith(f"{a}/") for a in view.leaves)
  ]
  return jnp.concatenate(
    [_rounded(flat[n], view.rounding).ravel() for n in names]
  )


def _rounded(a, kind: str):
  if kind == "float32" or isinstance(a, jax.core.Tracer):
    return a
  if kind == "int8":
    step = jnp.abs(a).max() / 127
    return jnp.rint(a / step) * step
  return a.astype(kind).astype(jnp.float32)


def searched(train, view: View, x, y, ids) -> dict[int, float]:
  """Rms error of the search for each record."""

  def simulate(fixed, target, i):
    del fixed
    return picked(train(target.x, i), view)

  means = np.stack([x[(y == y[i]) & (np.arange(N) != i)].mean(0) for i in ids])
  theta = np.stack([picked(train(x[i], i), view) for i in ids])
  base = np.stack([picked(train(m, i), view) for m, i in zip(means, ids)])
  search = dataclasses.replace(
    simulation.Search(), converged=1e-6, explained=1e-5
  )
  found = simulation.reconstruct(
    simulate,
    Records(x, y),
    simulation.Release(theta, base, np.asarray(ids, np.int32)),
    lambda k: (means[k][None], y[ids[k]][None]),
    search,
    batch=len(ids),
  )
  return {
    k: float(np.sqrt(np.mean((answer.x - x[ids[k]]) ** 2)))
    for k, answer in found
  }


def digits():
  """(x (N, 64), y (N,))."""
  some = load_digits()
  return (some.data[:N] / 16).astype(np.float32), some.target[:N]


def rows_of_sets(widths, sizes, count: int):
  """Of `count` sets of each size, labels given."""
  x, y = digits()
  means = np.stack([x[y == c].mean(0) for c in range(10)])
  spread, every = float(np.sqrt(np.mean((x - means[y]) ** 2))), []
  for width, k in itertools.product(widths, sizes):
    train = network(width, x, y)
    ids = np.random.default_rng(k).permutation(N)[: k * count].reshape(-1, k)
    said = [
      identifiability(
        lambda u, i=i, train=train: train(u, i), x[i], VIEWS, spread=spread
      )
      for i in ids
    ]
    for name, view in VIEWS.items():
      actual, predicted = [], []
      for one, i in zip(said, ids):
        error = one[name].error.reshape(k, -1)
        predicted += list(np.sqrt(np.mean(error**2, 1)))
        actual += list(set_searched(train, view, x, y, i, means))
      every += zip(predicted, actual)
      yield dict(
        case=f"64-{width}-10, {name}, {k} unknown",
        numbers=said[0][name].seen,
        unknowns=said[0][name].unknowns,
        rank=said[0][name].rank,
        ours=float(np.median(predicted)),
        peer=float(np.median(actual)),
        unit="median rms error a pixel, predicted against that of the search",
        found=f"{sum(a <= FOUND for a in actual)} of {len(actual)}",
      )
  yield summary(every)


def set_searched(train, view: View, x, y, ids, means) -> np.ndarray:
  """Rms error of the search for each record of a set; inf where it refuses."""

  def explain(u, labels):
    del labels  # as trained
    return picked(train(u, ids), view)

  own = means[y[ids]]
  seen, base = (picked(train(u, ids), view) for u in (x[ids], own))
  try:
    found = sets.reconstruct(
      explain, seen, base, means, len(ids), labels=y[ids]
    )
  except UserError:
    return np.full(len(ids), np.inf)
  # Labels are given in order, and so are the answers; alike ones may swap.
  square = np.mean((x[ids][:, None] - found.x[None]) ** 2, -1)
  i, j = optimize.linear_sum_assignment(square)
  return np.sqrt(square[i, j])


def summary(every) -> dict:
  predicted, actual = np.array(every).T
  good = actual <= FOUND
  return dict(
    case=f"all {len(actual)} searches",
    found=int(good.sum()),
    ours=float(metrics.roc_auc_score(good, -predicted)),
    unit="AUC of the prediction",
  )


def rows(widths, count: int):
  x, y = digits()
  ids = np.random.default_rng(0).permutation(N)[:count]
  means = np.stack([x[y == k].mean(0) for k in range(10)])
  spread, every = float(np.sqrt(np.mean((x - means[y]) ** 2))), []
  for width in widths:
    train = network(width, x, y)
    said = [
      identifiability(
        lambda u, i=i, train=train: train(u[0], i),
        x[i : i + 1],
        VIEWS,
        spread=spread,
      )
      for i in ids
    ]
    for name, view in VIEWS.items():
      wrong = searched(train, view, x, y, ids)
      predicted = [one[name].rms for one in said]
      actual = [wrong[k] for k in range(count)]
      every += zip(predicted, actual)
      yield dict(
        case=f"64-{width}-10, {name}",
        numbers=said[0][name].seen,
        rank=said[0][name].rank,
        ours=float(np.median(predicted)),
        peer=float(np.median(actual)),
        ratio=float(np.median(actual) / np.median(predicted)),
        unit="median rms error a pixel, predicted against that of the search",
        found=f"{sum(a <= FOUND for a in actual)} of {count}",
      )
  yield summary(every)


def main(argv):
  del argv
  size = (WIDTHS[-1:], 2) if _QUICK.value else (WIDTHS, 8)
  if _SETS.value:
    small = (WIDTHS[-1:], (2,), 1)
    size = small if _QUICK.value else (WIDTHS[1:], (1, 2, 5), 2)
    printed(rows_of_sets(*size), _KEEP.value)
    return
  printed(rows(*size), _KEEP.value)


if __name__ == "__main__":
  app.run(main)
