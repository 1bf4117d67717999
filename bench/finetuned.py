"""A residual network fine-tuned on a few images: which of them come back?

python -m bench.finetuned [--quick] [--only=TEXT] [--keep=FILE] [--images=DIR]
                          [--most=20] [--iterations=1000]

The setting of SimuDy (Tian et al., ICLR 2025) on this project's network: a
residual network with group norm (77,850 parameters), trained on CIFAR-10
before, is fine-tuned by 20 full-batch steps of SGD 0.01 on n other images. Its
start, the recipe and the labels are known, and all images but k. Two attacks
look for the k:

* gauss_newton: `attacks.sets`, --most steps. A record is a mean of its class
  and what it has beyond that in units of the public images' covariance, so that
  the pull to the start is a prior of natural images. Of known images a
  derivative sees --sample.
* simudy: their method, by their public code: 1 - cos of the two changes of the
  parameters plus 0.001 of the total variation, eight simulated steps, noise at
  the start, Adam (0.8, 0.9) with a rate between 0 and 0.01 that comes and goes
  in 200 iterations. --iterations in place of their 30,000; no clipping.

A row is one set. `recognisable` counts images with an SSIM above 0.5, and
`control` the same of other images of the same number in the same answers.
`residual` is what is left of the change, for both. Rows already in --keep are
not measured again; --images names a folder for pictures, truth above answer.
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
_MOST = flags.DEFINE_integer("most", 20, "steps of gauss_newton")
_ITERATIONS = flags.DEFINE_integer("iterations", 1000, "of simudy")
_SAMPLE = flags.DEFINE_integer("sample", 4, "known images a derivative sees")
_IMAGES = flags.DEFINE_string("images", "", "folder for pictures")
flags.DEFINE_bool("quick", False, "one of four digits of 8x8, a small network")
flags.DEFINE_string("keep", "", "file of rows, which are not measured again")
STEPS, RATE = 20, 0.01
BEFORE = dict(records=5000, steps=500, batch=100, rate=0.05)
RECOGNISABLE = 0.5  # SSIM
LEAST = 0.05  # standard deviation of a feature in any direction
SIMULATED, VARIATION = 8, 1e-3  # steps of simudy, weight of the variation
CASES = (  # images, unknown ones, activation, width
  (20, 20, "elu", 16),
  (1, 1, "elu", 16),
  (1, 1, "elu", 32),
  (20, 1, "elu", 16),
  (1, 1, "relu", 16),
  (20, 20, "relu", 16),
)


def main(argv):
  del argv
  attacks = dict(gauss_newton=gauss_newton, simudy=simudy)
  if flags.FLAGS.quick:
    cases = {
      f"quick, {name}": functools.partial(row, attack, 4, 1, "elu", 4)
      for name, attack in attacks.items()
    }
  else:
    cases = {
      f"n={n}, k={k}, {activation}, width {width}, {name}": functools.partial(
        row, attack, n, k, activation, width
      )
      for n, k, activation, width in CASES
      for name, attack in attacks.items()
    }
  some = {c: r for c, r in cases.items() if c.startswith(_ONLY.value)}
  resumed(some, flags.FLAGS.keep)


@functools.cache
def prepared(activation: str, width: int):
  """(model, its parameters before the fine-tuning, records not seen yet)."""
  if flags.FLAGS.quick:
    spec = data.DataSpec("digits")
    options = dict(widths=(width, 2 * width), groups=2)
    before = BEFORE | dict(records=500, steps=20)
  else:
    spec, before = data.DataSpec("tfds", "cifar10"), BEFORE
    options = dict(widths=(width, 2 * width, 4 * width))
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

  def loss(params, x, y):
    return _losses(model, params, x, y).mean()

  @jax.jit
  def train(params, x, y):
    def step(carry, key):
      params, state = carry
      pick = jax.random.randint(key, (before["batch"],), 0, len(y))
      gradient = jax.grad(loss)(params, x[pick], y[pick])
      updates, state = optimizer.update(gradient, state)
      return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(prng.root(1), before["steps"])
    start = params, optimizer.init(params)
    return jax.lax.scan(step, start, keys)[0][0]

  return model, train(model.init(prng.root(0)), *map(jnp.asarray, own)), fresh


def _losses(model, params, x, y):
  logits = model.apply(params, x)
  return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def tuned(model, start, known: Records | None, steps: int):
  """(x (k, h, w, c), y (k,)) -> parameters after `steps` that cover what STEPS
  do."""
  rate = RATE * STEPS / steps
  size = min(_SAMPLE.value, len(known.y)) if known else 0
  gradient = sets.sampled(functools.partial(_losses, model), known, size)

  def tune(x, y):
    def step(params, i):
      move = gradient(params, x, y, i)
      return jax.tree.map(lambda p, g: p - rate * g, params, move), None

    return ravel_pytree(jax.lax.scan(step, start, jnp.arange(steps))[0])[0]

  return tune


def row(attack, n: int, k: int, activation: str, width: int) -> dict:
  model, start, fresh = prepared(activation, width)
  own = Records(*(a[:n] for a in fresh))
  other = fresh.x[-n:][:k]
  public = Records(*(a[len(a) // 2 : -n] for a in fresh))
  known = Records(*(a[k:] for a in own)) if k < n else None
  truth = Records(*(a[:k] for a in own))

  def change(steps: int):
    """What the unknown images change, a function of them."""
    tune = tuned(model, start, known, steps)
    if known is None:
      base = ravel_pytree(start)[0]
    else:
      base = jax.jit(tuned(model, start, None, steps))(*map(jnp.asarray, known))
    return lambda x, y: tune(x, y) - base

  seen = jax.jit(change(STEPS))(*map(jnp.asarray, truth))
  begin = time.process_time()
  answers = np.asarray(attack(change, seen, public, truth.y))
  seconds = time.process_time() - begin
  left = jax.jit(change(STEPS))(answers, truth.y) - seen
  answers = answers.clip(0, 1)

  def scored(truth):
    mse, pick = matched(*(a.reshape(k, -1) for a in (answers, truth)))
    return mse, metrics.ssim(truth, answers[pick]), answers[pick]

  mse, ssim, paired = scored(truth.x)
  control_mse, control_ssim, _ = scored(other)
  if _IMAGES.value:
    name = f"{attack.__name__}_{activation}_{width}_{k}_of_{n}"
    picture(name, truth.x, paired)
  return dict(
    attack=attack.__name__,
    most=_MOST.value,
    iterations=_ITERATIONS.value,
    activation=activation,
    width=width,
    k=k,
    n=n,
    parameters=len(seen),
    mse=mse.tolist(),
    ssim=ssim.tolist(),
    recognisable=int((ssim > RECOGNISABLE).sum()),
    control_mse=control_mse.tolist(),
    control_ssim=control_ssim.tolist(),
    control=int((control_ssim > RECOGNISABLE).sum()),
    residual=float(jnp.linalg.norm(left) / jnp.linalg.norm(seen)),
    cpu_seconds=seconds,
  )


def gauss_newton(change, seen, public: Records, y):
  """Images (k, h, w, c) with labels y (k,) that `change` as is seen."""
  shape = public.x.shape[1:]
  x = public.x.reshape(len(public.y), -1)
  means = np.stack([x[public.y == c].mean(0) for c in range(10)])
  values, vectors = np.linalg.eigh(np.cov(x - means[public.y], rowvar=False))
  spread = np.sqrt(values.clip(0) + LEAST**2)
  colour = jnp.asarray(vectors * spread @ vectors.T, jnp.float32)
  white = (means @ (vectors / spread) @ vectors.T).astype(np.float32)

  def images(z):
    return (z @ colour).reshape(-1, *shape)

  explain = change(STEPS)
  found = sets.reconstruct(
    *(lambda z, y: explain(images(z), y), seen, np.zeros_like(seen)),
    *(white, len(y)),
    labels=y,
    bounds=(-20.0, 20.0),  # standard deviations: none, in effect
    rounds=0,
    most=_MOST.value,
  )
  return images(found.x)


def simudy(change, seen, public: Records, y):
  """As `gauss_newton`, by the method of Tian et al. (2025)."""
  mean, spread = public.x.mean((0, 1, 2)), public.x.std((0, 1, 2))
  simulated = change(SIMULATED)
  optimizer = optax.adam(
    lambda i: 0.005 * (1 + jnp.cos(jnp.pi * i / 100)), b1=0.8, b2=0.9
  )

  def loss(z):
    cosine = optax.cosine_similarity(simulated(z * spread + mean, y), seen)
    across, down = (jnp.abs(jnp.diff(z, axis=axis)).mean() for axis in (1, 2))
    return 1 - cosine + VARIATION * (across + down)

  @jax.jit
  def run(z):
    def iterate(carry, _):
      z, state = carry
      updates, state = optimizer.update(jax.grad(loss)(z), state)
      return (optax.apply_updates(z, updates), state), None

    steps = jnp.arange(_ITERATIONS.value)
    return jax.lax.scan(iterate, (z, optimizer.init(z)), steps)[0][0]

  noise = jax.random.normal(jax.random.key(0), (len(y), *public.x.shape[1:]))
  return run(0.5 * noise) * spread + mean


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
