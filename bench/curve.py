"""How many records may be unknown? From one to all, on the same models.

python -m bench.curve [--quick] [--only=TEXT] [--keep=FILE]
python -m bench.curve --table=FILE [--figure=FILE]

Networks 64-60-10 ELU learn 60 digits of scikit-learn by full-batch SGD with
momentum and weight decay, which ends near a stationary point; the parameters
are released in float32. k of the digits are unknown, the others and the labels
are known. `simulation` knows the algorithm and its start, `stationarity` the
objective alone, and answers once more where the same models were trained on to
a stationary point. The means of the classes, from where they begin, are those
of other digits.

A row is one set: found are records of an MSE of at most 1e-3, `control` looks
for as many other digits in the same answers. `predicted` is the identifiability
of each record (`attacks.identifiability`), computed before any search, with the
records and what training left in hand; `predicted_explained` is the same where
a search leaves the share of what is seen at which a set still counts as found
(`sets.verdict.EXPLAINED`). The last lines of --table have the AUC with which
they tell found from not found. `cpu_seconds` has compiling in it.
Rows already in --keep are not measured again.
"""

import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jax.flatten_util import ravel_pytree
from sklearn import metrics
from sklearn.datasets import load_digits

from bench import matched, resumed
from informed_recon import models, prng
from informed_recon.attacks import sets
from informed_recon.attacks.identifiability import View, identifiability
from informed_recon.attacks.sets.verdict import EXPLAINED
from informed_recon.training import stationary
from informed_recon.types import Records

_ONLY = flags.DEFINE_string("only", "", "rows whose case begins like this")
_TABLE = flags.DEFINE_string("table", "", "prints a summary of a file of rows")
_FIGURE = flags.DEFINE_string("figure", "", "file for one, of --table")
flags.DEFINE_bool("quick", False, "one set of one record, by each attack")
flags.DEFINE_string("keep", "", "file of rows, which are not measured again")

N, CLASSES, WIDTH, L2 = 60, 10, 60, 1e-2
STEPS, RATE, MOMENTUM = 200, 0.5, 0.9
FOUND = 1e-3  # MSE
ATTACKS = "simulation", "stationarity", "stationarity, trained on"
SIZES = {1: 10, 2: 5, 5: 5, 10: 3, 20: 2, 40: 1, 60: 1}  # k -> sets


def main(argv):
  del argv
  if _TABLE.value or _FIGURE.value:
    for line in table(_TABLE.value):
      print(json.dumps(line))
    if _FIGURE.value:
      figure(_TABLE.value).savefig(_FIGURE.value, dpi=150)
    return
  sizes = {1: 1} if flags.FLAGS.quick else SIZES
  cases = {
    f"{attack}, k={k}, set {i}": functools.partial(row, attack, k, i)
    for i in range(max(sizes.values()))
    for k, count in sizes.items()
    for attack in ATTACKS
    if i < count
  }
  some = {c: r for c, r in cases.items() if c.startswith(_ONLY.value)}
  resumed(some, flags.FLAGS.keep)


@functools.cache
def network():
  """The model, and its loss of one record."""
  model = models.build("mlp", CLASSES, (64,), dict(width=WIDTH))

  def loss(params, x, y):
    logits = model.apply(params, x[None])[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  return model, loss


def train(start, x, y):
  """(x (n, 64), y (n,)) -> parameters."""
  _, loss = network()
  optimizer = optax.sgd(RATE, momentum=MOMENTUM)

  def objective(params):
    theta = ravel_pytree(params)[0]
    losses = jax.vmap(loss, (None, 0, 0))(params, x, y)
    return losses.mean() + L2 / 2 * theta @ theta

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(objective)(params), state)
    return (optax.apply_updates(params, updates), state), None

  return jax.lax.scan(step, (start, optimizer.init(start)), None, STEPS)[0][0]


@functools.cache
def release(i: int):
  """Of the i-th set of digits (training set, as many others, means of classes,
  start, parameters, parameters after training on)."""
  digits = load_digits()
  x, y = digits.data / 16, digits.target
  order = np.random.default_rng(i).permutation(len(y))
  parts = order[:N], order[N : 2 * N], order[2 * N :]
  own, other, public = (Records(x[part], y[part]) for part in parts)
  means = np.stack([public.x[public.y == c].mean(0) for c in range(CLASSES)])
  model, loss = network()
  start = model.init(jax.random.fold_in(prng.root(0), i))
  start = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), start)
  params = jax.jit(train)(start, jnp.asarray(own.x), jnp.asarray(own.y))
  further, _ = stationary.minimise(loss, params, *own, l2=L2)
  rounded = [
    jax.tree.map(lambda a: np.float64(np.float32(a)), theta)
    for theta in (params, further)
  ]
  return own, other, means, start, *rounded


def row(attack: str, k: int, i: int) -> dict:
  with jax.enable_x64(True):
    return _row(attack, k, i)


def _setting(attack: str, k: int, i: int):
  """(explain, what is seen, base, the noise in it) of the i-th release."""
  own, _, _, start, params, further = release(i)
  unknown = Records(*(jnp.asarray(a[:k]) for a in own))
  known = Records(*(a[k:] for a in own))
  if attack == "simulation":
    explain, base = sets.simulation(
      functools.partial(train, start), known if k < N else None
    )
    base = ravel_pytree(start)[0] if base is None else base
    return explain, ravel_pytree(params)[0], base, View()
  _, loss = network()
  params = further if attack == ATTACKS[2] else params
  explain, seen = sets.stationarity(loss, params, known, k, L2)
  left = seen - jax.jit(explain)(*unknown)  # known to who publishes
  rms = float(jnp.sqrt(jnp.mean(left**2)))
  return explain, seen, jnp.zeros_like(seen), View(rounding=None, noise=rms)


def _predicted(explain, seen, base, noise, x, y, spread: float) -> dict:
  """What a row says of identifiability, before any search."""
  share = EXPLAINED * float(jnp.linalg.norm(seen - base)) / len(seen) ** 0.5
  more = noise._replace(noise=float(np.hypot(noise.noise, share)))
  given = jax.jit(lambda x: explain(x, y))
  views = {"all": noise, "explained": more}
  said = identifiability(given, x, views, spread=spread)
  return dict(
    predicted=np.mean(np.square(said["all"].error), 1).tolist(),
    predicted_explained=np.mean(np.square(said["explained"].error), 1).tolist(),
    rank=said["all"].rank,
    unknowns=said["all"].unknowns,
  )


def _row(attack: str, k: int, i: int) -> dict:
  own, other, means, *_ = release(i)
  x, y = own.x[:k], own.y[:k]
  explain, seen, base, noise = _setting(attack, k, i)
  spread = float(np.sqrt(np.mean((own.x - means[own.y]) ** 2)))
  said = _predicted(explain, seen, base, noise, x, jnp.asarray(y), spread)
  begin = time.process_time()
  found = sets.reconstruct(explain, seen, base, means, k, labels=y, seed=i)
  seconds = time.process_time() - begin
  mse, pick = matched(found.x, x)
  control, _ = matched(found.x, other.x[:k])
  vouched = found.identifiable[pick]
  return dict(
    attack=attack,
    k=k,
    mse=mse.tolist(),
    found=int((mse <= FOUND).sum()),
    control_found=int((control <= FOUND).sum()),
    control_mse=control.tolist(),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((vouched & (mse > FOUND)).sum()),
    **said,
    residual=found.residual,
    products=found.products,
    cpu_seconds=seconds,
  )


def read(path: str) -> list[dict]:
  lines = map(json.loads, pathlib.Path(path).read_text().splitlines())
  return [line for line in lines if "attack" in line]


def table(path: str):
  """A row an attack and k; at the end what the prediction was worth."""
  rows = read(path)
  for attack, k in dict.fromkeys((one["attack"], one["k"]) for one in rows):
    some = [one for one in rows if (one["attack"], one["k"]) == (attack, k)]
    mse, control, said = (
      _all(some, name) for name in ("mse", "control_mse", "predicted")
    )
    yield dict(
      attack=attack,
      k=k,
      sets=len(some),
      share_found=float(np.mean(mse <= FOUND)),
      whole_sets=sum(one["found"] == k for one in some),
      vouched=sum(one["vouched"] for one in some),
      vouched_wrongly=sum(one["vouched_wrongly"] for one in some),
      control_found=int((control <= FOUND).sum()),
      mse_median=float(np.median(mse)),
      control_median=float(np.median(control)),
      predicted_median=float(np.median(said)),
      cpu_seconds=float(np.mean([one["cpu_seconds"] for one in some])),
    )
  for attack in (*ATTACKS, "all"):
    some = [one for one in rows if attack in (one["attack"], "all")]
    right = _all(some, "mse") <= FOUND
    told = {
      name: metrics.roc_auc_score(right, -_all(some, name))
      for name in ("predicted", "predicted_explained")
      if 0 < right.mean() < 1
    }
    yield dict(
      attack=attack, records=len(right), found=int(right.sum()), auc=told
    )


def _all(rows: list[dict], name: str) -> np.ndarray:
  """The numbers of every record."""
  return np.concatenate([one[name] for one in rows])


def figure(path: str):
  """Share found and error against k, the control's errors as a band."""
  from matplotlib.figure import Figure

  drawn = Figure((9, 3.6), layout="constrained")
  share, error = drawn.subplots(1, 2)
  rows = read(path)
  for attack in ATTACKS:
    own = [one for one in rows if one["attack"] == attack]
    sizes = sorted({one["k"] for one in own})
    some = [[one for one in own if one["k"] == k] for k in sizes]
    mse = [_all(sets_, "mse") for sets_ in some]
    found = [np.mean(errors <= FOUND) for errors in mse]
    (line,) = share.plot(sizes, found, "o-", label=attack)
    style = dict(color=line.get_color(), label=attack)
    error.plot(sizes, list(map(np.median, mse)), "o-", **style)
    said = [np.median(_all(sets_, "predicted")) for sets_ in some]
    style["label"] = "predicted" if attack == ATTACKS[0] else None
    error.plot(sizes, said, ":", **style)
  sizes = sorted({one["k"] for one in rows})
  control = [
    np.quantile(
      _all([one for one in rows if one["k"] == k], "control_mse"), (0.05, 0.95)
    )
    for k in sizes
  ]
  band = dict(color="0.85", label="control, 5% to 95%")
  error.fill_between(sizes, *np.transpose(control), **band)
  error.axhline(FOUND, color="0.5", lw=0.8)
  error.set(yscale="log", ylabel="MSE a pixel, median")
  share.set(ylim=(-0.05, 1.05), ylabel="share of records found")
  for axis in (share, error):
    axis.set(xscale="log", xlabel=f"unknown records, of {N}")
    axis.set_xticks(sizes, map(str, sizes))
    axis.minorticks_off()
  handles, labels = error.get_legend_handles_labels()
  where = dict(loc="outside lower center", ncols=len(labels), fontsize=8)
  drawn.legend(handles, labels, frameon=False, **where)
  return drawn


if __name__ == "__main__":
  app.run(main)
