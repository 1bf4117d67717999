"""What one gradient of a two-layer network gives away of its batch.

python -m bench.gradient [--quick] [--batches=10] [--keep=FILE]

f(x) = a·σ(Wx) with m hidden units, W and √m a standard normal, responses -1 or
1; Gaussian records of length about 1 (d = 64) or MNIST digits (d = 784) over
their largest length. Both layers' gradients are seen, in float64.

  rate   errors against m, of records of length 1: the relative error of a
         contracted moment, and the sines of the angles to the tensor's
         directions before any polishing, with the slope of the logarithm in
         log m (theory: -1/2) and that slope's 95% interval over batches
  found  share of batches with every record at an MSE of at most 1e-4, by start;
         `told`: misses that the residual or an open sign gives away; `wrongly`:
         vouched for and not found

Where signs or lengths are open (tanh without bounds, ReLU with two roots) and
the answer is not vouched for, the nearest of the batches with the same gradient
counts. A run that is killed goes on with the next row of the same FILE.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy import optimize, stats

from bench import resumed
from informed_recon import data
from informed_recon.attacks import gradient
from informed_recon.attacks.gradient import moments

_BATCHES = flags.DEFINE_integer("batches", 10, "of each setting")
flags.DEFINE_bool("quick", False, "two batches of two settings")
flags.DEFINE_string("keep", "", "file for the rows as well")
ACTIVATIONS = dict(tanh=jnp.tanh, relu=jax.nn.relu)
ENOUGH = 1e-4  # MSE at which a record is found
UNITS = 2000
RATE_SIZE = 3
SIZES = (2, 4, 8, 10)
RATE_UNITS = tuple(1000 * 4**k for k in range(6))
TRIES = 8  # starts a batch, at most
STARTS = dict(tanh=("tensor", "random"), relu=("patterns", "tensor", "random"))


def main(argv):
  del argv
  quick = flags.FLAGS.quick
  resumed(rows(quick, 2 if quick else _BATCHES.value), flags.FLAGS.keep)


def rows(quick, count):
  """Case -> what measures it."""
  cases = {}
  for activation in ACTIVATIONS:
    units = RATE_UNITS[:3] if quick else RATE_UNITS
    cases[f"rate, {activation}, batch {RATE_SIZE}"] = functools.partial(
      rate, activation, units, count if quick else 3 * count
    )
  units = 500 if quick else UNITS
  for source in ("gaussian", "mnist")[: 1 if quick else 2]:
    for activation in ACTIVATIONS:
      for size in (2,) if quick else SIZES:
        for start in STARTS[activation]:
          given = source, activation, size, units, start, count
          name = f"{source}, {activation}, batch {size}, {start}"
          cases[name] = functools.partial(found, *given)
  return cases


@functools.cache
def mnist() -> np.ndarray:
  return data.load(data.DataSpec("mnist_sample")).records.x


def drawn(source: str, activation: str, size: int, units: int, seed: int):
  """(W, a, x, y, gradient) of a batch."""
  rng = np.random.default_rng([seed, size, units])
  if source == "gaussian":
    x = rng.normal(size=(size, 64)) / 8
  else:
    digits = mnist()
    x = np.float64(digits[rng.choice(len(digits), size, replace=False)])
    x = x.reshape(size, -1)
    x = x / np.linalg.norm(x, axis=1).max()
  y = rng.integers(2, size=size) * 2.0 - 1
  w, a = rng.normal(size=(units, x.shape[1])), rng.normal(size=units)
  a = a / np.sqrt(units)
  act = ACTIVATIONS[activation]
  with jax.enable_x64(True):

    def loss(w, a):
      return jnp.mean((act(x @ w.T) @ a - y) ** 2) / 2

    by_w, by_a = jax.grad(loss, (0, 1))(w, a)
  return w, a, x, y, gradient.Gradient(np.asarray(by_a), np.asarray(by_w))


def rate(activation: str, units, count: int) -> dict:
  """Sines of the angles to the tensor's directions, of 3 Gaussian records in
  their span, whose dimension is all that counts."""
  size, errors, of_moments = RATE_SIZE, [], []
  act = ACTIVATIONS[activation]
  order = 3 if activation == "tanh" else 4
  coefficient = moments.coefficient(act, order)
  for seed in range(count):
    rng, row, moment = np.random.default_rng(seed), [], []
    x, r = rng.normal(size=(size, size)), rng.choice([-1.0, 1.0], size)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    for m in units:
      w = rng.normal(size=(m, size))
      output = np.float64(act(jnp.asarray(w @ x.T))) @ r
      u, v = rng.normal(size=(2, size))
      if order == 3:
        seen, power = moments.third(output, w, u), x @ u
      else:
        seen, power = moments.fourth(output, w, u, v), (x @ u) * (x @ v)
      truth = coefficient * (x.T * (r * power)) @ x
      off = np.linalg.norm(seen - truth) / np.linalg.norm(truth)
      moment.append(float(off))
      draws, sines = moments.directions(output, w, act, rng), []
      for _ in range(5):  # contractions
        cosine = np.abs(next(draws) @ x.T)
        pick = optimize.linear_sum_assignment(-cosine)
        sines.append(np.sqrt(np.maximum(1 - cosine[pick] ** 2, 0)).mean())
      row.append(float(np.median(sines)))
    errors.append(row)
    of_moments.append(moment)

  def fitted(values):
    slopes = np.polyfit(np.log(units), np.log(values).T, 1)[0]
    half = stats.t.ppf(0.975, count - 1) * stats.sem(slopes)
    middle = float(slopes.mean())
    return dict(
      median=np.median(values, 0).tolist(),
      slope=middle,
      slope_ci95=[middle - float(half), middle + float(half)],
    )

  return dict(
    units=list(units),
    moment=fitted(of_moments),
    sine=fitted(errors),
    batches=count,
  )


def found(source, activation, size, units, start, count) -> dict:
  begin = time.perf_counter()
  worst, answers = [], []
  for seed in range(count):
    w, a, x, y, g = drawn(source, activation, size, units, seed)
    answer = gradient.reconstruct(
      *(w, a, ACTIVATIONS[activation], g, size),
      start=start,
      starts=TRIES,
      labels=(-1.0, 1.0),
      bounds=(0.0, 1.0) if source == "mnist" else None,
    )
    answers.append(answer)
    # What is vouched for has its sign and length.
    plain = "" if answer.identifiable else activation
    worst.append(error(answer.x, x, plain))
  worst = np.array(worst)
  right = worst <= ENOUGH
  vouched = np.array([b.identifiable for b in answers])
  interval = stats.binomtest(int(right.sum()), count).proportion_ci()
  return dict(
    units=units,
    batches=count,
    found=int(right.sum()),
    found_ci95=[round(float(v), 3) for v in interval],
    worst_mse=float(np.median(worst)),
    vouched=int(vouched.sum()),
    vouched_wrongly=int((vouched & ~right).sum()),
    misses_told=int((~right & ~vouched).sum()),
    starts=float(np.mean([b.starts for b in answers])),
    residual_found=max(
      (b.residual for b, r in zip(answers, right) if r), default=None
    ),
    residual_missed=min(
      (
        b.residual for b, r in zip(answers, right) if not r and b.residual < 1e9
      ),
      default=None,
    ),
    seconds=(time.perf_counter() - begin) / count,
  )


def error(guess, x, activation="") -> float:
  """Largest MSE of a record, in the best order; up to sign or length where an
  activation leaves these open."""
  lengths = np.sum(guess**2, 1)[:, None]
  along = guess @ x.T / np.maximum(lengths, 1e-300)
  scale = {"": np.ones_like, "tanh": np.sign}.get(activation)
  scale = scale(along) if scale else np.maximum(along, 0)
  moved = scale[:, :, None] * guess[:, None]
  errors = np.mean((moved - x[None]) ** 2, -1)
  return float(errors[optimize.linear_sum_assignment(errors)].max())


if __name__ == "__main__":
  app.run(main)
