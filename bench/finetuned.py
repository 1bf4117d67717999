"""A residual network fine-tuned on a few images: which of them come back?

python -m bench.finetuned [--quick] [--only=TEXT] [--keep=FILE] [--images=DIR]
                          [--derivative_steps=10] [--sample=4]

The setting of SimuDy (ICLR 2025) on this project's network: a residual network
with group norm (77,850 parameters), trained on CIFAR-10 before, is fine-tuned
by 20 full-batch steps of SGD 0.01 on 20 other images. Its start, the recipe and
the labels are known, and all images but k; `attacks.sets` looks for the k. They
begin at the means of their classes. What training gives is simulated in full;
its derivative is that of --derivative_steps longer steps, and sees --sample of
the known images.

A row is one set. `recognisable` counts images with an SSIM above 0.5, and
`control` the same of other images of the same number in the same answers.
`predicted` is the rms error a pixel that is left where the attack ends well, by
the search's own covariance. Rows already in --keep are not measured again;
--images names a folder for pictures, truth above answer.
"""

import functools
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from jax.flatten_util import ravel_pytree

from bench import matched, resumed
from informed_recon import data, models, prng
from informed_recon.attacks import sets
from informed_recon.evaluation import metrics
from informed_recon.types import Records

_ONLY = flags.DEFINE_string("only", "", "rows whose case begins like this")
_DERIVATIVE_STEPS = flags.DEFINE_integer("derivative_steps", 10, "of training")
_SAMPLE = flags.DEFINE_integer("sample", 4, "known images a derivative sees")
_IMAGES = flags.DEFINE_string("images", "", "folder for pictures")
flags.DEFINE_bool("quick", False, "one of four digits of 8x8, a small network")
flags.DEFINE_string("keep", "", "file of rows, which are not measured again")
N, STEPS, RATE = 20, 20, 0.01
BEFORE = dict(records=5000, steps=500, batch=100, rate=0.05)
RECOGNISABLE = 0.5  # SSIM
CASES = [  # activation, unknown images, number of sets
  *(("elu", k, 1) for k in (1, 2, 5)),
  *(("relu", k, 1) for k in (1, 2, 5)),
  *((activation, 20, 1) for activation in ("elu", "relu")),
]


def main(argv):
  del argv
  if flags.FLAGS.quick:
    cases = {"quick": lambda: row("elu", 1, 0, quick=True)}
  else:
    cases = {
      f"{activation}, k={k} of {N}, set {i}": functools.partial(
        row, activation, k, i
      )
      for activation, k, count in CASES
      for i in range(count)
    }
  some = {c: r for c, r in cases.items() if c.startswith(_ONLY.value)}
  resumed(some, flags.FLAGS.keep)


@functools.cache
def prepared(activation: str, quick: bool):
  """(model, its parameters before the fine-tuning, records not seen yet)."""
  if quick:
    spec, options = data.DataSpec("digits"), dict(widths=(4, 8), groups=2)
    before = BEFORE | dict(records=500, steps=20)
  else:
    spec, options, before = data.DataSpec("tfds", "cifar10"), {}, BEFORE
  x, y = data.load(spec).records
  order = np.random.default_rng(0).permutation(len(y))
  x, y = x[order[: before["records"] + 5000]], y[order]
  model = models.build(
    "resnet", 10, x.shape[1:], options | dict(activation=activation)
  )
  own, fresh = (
    Records(x[part], y[: len(x)][part])
    for part in (
      slice(before["records"]),
      slice(before["records"], None),
    )
  )
  optimizer = optax.sgd(
    optax.cosine_decay_schedule(before["rate"], before["steps"]), momentum=0.9
  )

  @jax.jit
  def train(params, x, y):
    def step(carry, key):
      params, state = carry
      pick = jax.random.randint(key, (before["batch"],), 0, len(y))
      gradient = jax.grad(_loss)(params, model, x[pick], y[pick])
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(prng.root(1), before["steps"])
    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, keys)[0][0]

  return model, train(model.init(prng.root(0)), *map(jnp.asarray, own)), fresh


def _loss(params, model, x, y):
  logits = model.apply(params, x)
  each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
  return each.mean()


def tuned(model, start, shape, known: Records | None, steps: int):
  """(x (k, d), y (k,)) -> parameters after `steps` that cover what STEPS do."""
  rate = RATE * STEPS / steps

  def loss(params, x, y):
    logits = model.apply(params, x.reshape(-1, *shape))
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  size = min(_SAMPLE.value, len(known.y)) if known else _SAMPLE.value
  gradient = sets.sampled(loss, known, size)

  def tune(x, y):
    def step(params, i):
      move = gradient(params, x, y, i)
      return jax.tree.map(lambda p, g: p - rate * g, params, move), None

    return ravel_pytree(jax.lax.scan(step, start, jnp.arange(steps))[0])[0]

  return tune


def row(activation: str, k: int, i: int, quick: bool = False) -> dict:
  model, start, fresh = prepared(activation, quick)
  n = 4 if quick else N
  shape, first = fresh.x.shape[1:], i * N
  own = Records(*(a[first : first + n] for a in fresh))
  other = fresh.x[-n:][:k].reshape(k, -1)
  public = Records(*(a[len(a) // 2 : -n] for a in fresh))
  means = np.stack([public.x[public.y == c].mean(0) for c in range(10)])

  flat = own.x.reshape(n, -1)
  known = Records(flat[k:], own.y[k:]) if k < n else None
  tune = functools.partial(tuned, model, start, shape, known)
  full, rough = tune(STEPS), tune(_DERIVATIVE_STEPS.value)

  def explain(x, y):
    near = rough(x, y)  # its value is not used, its derivative is
    exact = full(jax.lax.stop_gradient(x), y)
    return exact + (near - jax.lax.stop_gradient(near))

  if known is None:
    base = ravel_pytree(start)[0]
  else:
    without = tuned(model, start, shape, None, STEPS)
    base = jax.jit(without)(*map(jnp.asarray, known))
  seen = np.asarray(jax.jit(full)(jnp.asarray(flat[:k]), own.y[:k]))
  begin = time.process_time()
  found = sets.reconstruct(
    *(explain, seen, np.asarray(base), means.reshape(10, -1), k),
    labels=own.y[:k],
    seed=i,
  )
  seconds = time.process_time() - begin
  mse, pick = matched(found.x, flat[:k])
  answers = found.x[pick].reshape(k, *shape).astype(np.float32)
  control, wrong = matched(found.x, other)
  against = found.x[wrong].reshape(k, *shape).astype(np.float32)
  ssim = metrics.ssim(own.x[:k], answers)
  control_ssim = metrics.ssim(other.reshape(k, *shape), against)
  if _IMAGES.value:
    picture(f"{activation}_{k}_{i}", own.x[:k], answers)
  vouched = found.identifiable[pick]
  return dict(
    activation=activation,
    k=k,
    n=n,
    parameters=len(seen),
    mse=mse.tolist(),
    ssim=ssim.tolist(),
    recognisable=int((ssim > RECOGNISABLE).sum()),
    control_ssim=control_ssim.tolist(),
    control=int((control_ssim > RECOGNISABLE).sum()),
    control_mse_median=float(np.median(control)),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((vouched & (mse > 1e-3)).sum()),
    residual=found.residual,
    predicted=float(np.median(found.error)),
    products=found.products,
    cpu_seconds=seconds,
  )


def picture(name: str, truth, answers) -> None:
  from matplotlib import image

  rows = [np.concatenate(list(some), 1) for some in (truth, answers)]
  whole = np.repeat(np.repeat(np.concatenate(rows), 4, 0), 4, 1)
  folder = pathlib.Path(_IMAGES.value)
  folder.mkdir(parents=True, exist_ok=True)
  if whole.shape[-1] == 1:
    whole = np.repeat(whole, 3, -1)
  image.imsave(folder / f"{name}.png", whole.clip(0, 1))


if __name__ == "__main__":
  app.run(main)
