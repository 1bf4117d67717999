"""Do planted outliers stand out in an audit?

python -m bench.audit_outliers [--quick] [--keep=FILE]

Of 1,000 digits of scikit-learn 25 get a wrong label and 25 are made of uniform
noise; a network 64-10-10 learns them in 100 full-batch steps. The audit ranks
all records by how far the release moves without them (`influence`). Ours is the
area under the curve that tells the planted records of a kind from the other
950, peers are that of the loss at the release and that of the distance to the
nearest other record; `top_decile` counts the planted among the 100 first. The
last row says how many records were searched for in that time.
"""

import time

import flax.linen as nn
import jax
import numpy as np
import optax
from absl import app, flags
from sklearn import metrics
from sklearn.datasets import load_digits

from bench import printed
from informed_recon import audit
from informed_recon.evaluation import metrics as distances

_QUICK = flags.DEFINE_bool("quick", False, "300 digits, 10 planted of each")
_KEEP = flags.DEFINE_string("keep", "", "file to write the rows to as well")
_SEED = flags.DEFINE_integer("seed", 0, "of the digits and what is planted")
_MINUTES = flags.DEFINE_float("minutes", 5.0, "of the audit")


class Network(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(10)(nn.elu(nn.Dense(10)(x)))


def planted(count: int, each: int, seed: int):
  """Digits with `each` wrong labels first and `each` of noise behind them."""
  digits, rng = load_digits(), np.random.default_rng(seed)
  ids = rng.permutation(len(digits.target))[:count]
  x, y = (digits.data[ids] / 16).astype(np.float32), digits.target[ids]
  y[:each] = (y[:each] + rng.integers(1, 10, each)) % 10
  x[each : 2 * each] = rng.uniform(size=(each, 64))
  return x, y


def rows(count: int, each: int, seed: int):
  x, y = planted(count, each, seed)
  train = audit.recipe(Network(), optax.sgd(0.3, momentum=0.9), steps=100)
  begun = time.monotonic()
  found = audit.audit(train, x, y, records="all", minutes=_MINUTES.value)
  seconds = time.monotonic() - begun
  params = train(jax.random.key(0), x, y)
  losses = optax.softmax_cross_entropy_with_integer_labels(
    Network().apply(params, x), y
  )
  square = distances.pairwise_mse(x, x)
  np.fill_diagonal(square, np.inf)
  scores = dict(
    ours=found.table.influence.to_numpy(),
    loss=np.asarray(losses),
    distance=square.min(1),
  )
  usual = np.arange(2 * each, count)
  for k, kind in enumerate(("wrong label", "uniform noise")):
    ids = np.arange(k * each, (k + 1) * each)
    both, truth = np.append(ids, usual), np.arange(each + len(usual)) < each
    auc = {
      name: round(float(metrics.roc_auc_score(truth, score[both])), 4)
      for name, score in scores.items()
    }
    first = np.argsort(-scores["ours"])[: count // 10]
    yield dict(
      case=f"{each} records of {count} with {kind}, seed {seed}",
      ours=auc["ours"],
      peer=auc["loss"],
      distance=auc["distance"],
      ratio=round(auc["ours"] / auc["loss"], 3),
      unit="AUC of influence, against that of the loss",
      top_decile=f"{int(np.isin(ids, first).sum())} of {each}",
    )
  searched = found.table[found.table.mse.notna()]
  yield dict(
    case=f"the same audit of {count} records, minutes={_MINUTES.value:g}",
    ours=len(searched),
    ended=int(searched.error.notna().sum()),
    nearer_than_oracle=int((searched.mse < searched.oracle_mse).sum()),
    vouched_for=int(searched.confident.sum()),
    worst_vouched_for=float(searched.mse[searched.confident].max()),
    unit="records searched",
    seconds=round(seconds),
  )


def main(argv):
  del argv
  size = (300, 10) if _QUICK.value else (1000, 25)
  printed(rows(*size, _SEED.value), _KEEP.value)


if __name__ == "__main__":
  app.run(main)
