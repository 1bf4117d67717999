"""The stationarity attack: a released model gives away the record it was
trained on, whatever its initialisation, order of records or optimiser.

At a stationary point the missing record's gradient is minus everyone else's
(`missing`): ∇ℓ(θ; x, y) = G, an equation of P numbers for the d features. A
dense layer fed by the record solves it in closed form (`dense`); that, or for
other networks a few guesses, is where Levenberg-Marquardt steps start to

  minimise over x within the bounds, and labels y,   ‖∇ℓ(θ; x, y) - G‖².

Training that stopped short leaves noise with a shape, which is then allowed for
(`generalised`). No shadow model is trained, and nothing about the training is
known but its objective. Derived for this project; the equation is the
first-order condition that Balle, Cherubin and Hayes (2022, Theorem 1) use for
convex models.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.simulation import step as levenberg_marquardt
from informed_recon.attacks.stationarity import (
  dense,
  generalised,
  missing,
  polish,
  uncertainty,
)
from informed_recon.attacks.stationarity import problem as problems
from informed_recon.attacks.stationarity.problem import Found, Unknown
from informed_recon.types import Reconstruction

LANES = 8  # candidates stepped side by side
ROUNDS = 60  # of a step for each lane, at most
PATIENCE = 4  # stalls in a row that end a candidate
OPTIMISM = 0.1  # share of a misfit that a first step may leave
CONVERGED = 1e-12  # relative residual at which there is nothing left to gain
STOPPED_SHORT = 1e-4  # relative residual above which noise is allowed for
GUESSES = 3  # random starts a label, where there is no closed form
SETTINGS = dict(cg_steps=60, cg_tolerance=0.03, converged=CONVERGED)


def reconstruct(
  loss, params, known_x, known_y, *, l2=0.0, labels=None, bounds=(0.0, 1.0)
) -> Reconstruction:
  """Recovers the one training record that the adversary does not know.

  The released parameters are a stationary point of the mean loss over all n
  known records and the missing one, plus (l2 / 2) ‖params‖².

  Args:
    loss: `loss(params, x, y)`, the loss () of one record, differentiable in
      params and then in x.
    params: any pytree of floating-point arrays, as released.
    known_x: (n, *shape) features of the known records.
    known_y: (n, ...) their labels or real responses.
    l2: weight of the penalty, mean form.
    labels: (C, ...) the labels to try. By default the classes 0 to the largest
      in known_y, or the few values that known_y has; where it has many, the
      response is taken as real and sought along with the features.
    bounds: the least and the largest value of a feature, or None. The
      default is for images; a table wants its own.

  Returns:
    A `Reconstruction`, with `x` and `error` of a record's shape. `residual` is
    ‖∇ℓ(θ; x, y) - G‖ / ‖G‖. Where nothing brings that below `STOPPED_SHORT`,
    training had not converged: x is then the likeliest record given how such
    training ends and what the known records are like, the norms in `residual`
    allow for that, and x is not vouched for. `identifiable` asks that the error
    estimated from that residual is small beside the range of a feature, that no
    other label or start explains the release nearly as well, and that the
    equation has more independent numbers than unknowns (`checked`). Everything
    is computed in float64, whatever jax's own setting is.

  Raises:
    UserError: the arguments do not fit each other; one line says what.
  """
  problem = problems.check(
    loss, params, known_x, known_y, l2=l2, labels=labels, bounds=bounds
  )
  with jax.enable_x64(True):
    return solve(problem, missing.gradient(problem), stopped_short=True)


def solve(
  problem: problems.Problem, target: jax.Array, *, stopped_short: bool = False
) -> Reconstruction:
  """The record whose gradient is `target` (P,), in float64; with
  `stopped_short` up to what training may have left of the gradient."""
  shape, real = problem.x.shape[1:], problem.labels is None
  unknown = Unknown(
    shape, int(np.prod(shape)), problem.y.shape[1:] if real else None
  )
  size = float(jnp.linalg.norm(target))
  if not np.isfinite(size) or size == 0:
    return Reconstruction(
      x=np.full(shape, np.nan),
      y=None,
      identifiable=False,
      residual=np.inf,
      message="the known records leave no finite gradient to explain",
      error=np.full(shape, np.inf),
      checked=False,
    )
  layer = dense.find(problem)
  z, y = _candidates(problem, unknown, layer, np.asarray(target))
  found = _search(problem, unknown, target, z, y)
  starts = None if layer is not None else z
  found = polish.best(problem, unknown, target, starts, found)
  if not (stopped_short and np.nanmin(found.residual) > STOPPED_SHORT):
    return uncertainty.verdict(problem, unknown, target, layer, found)
  found, error = generalised.solve(problem, unknown, target, found)
  return uncertainty.estimate(problem, unknown, found, error)


def _candidates(problem, unknown: Unknown, layer, target: np.ndarray):
  """Starting points (C, d) and their labels (C,)."""
  known = problem.x.reshape(len(problem.x), -1)
  if layer is not None:
    points = np.clip(dense.starts(layer, target, known), *problem.bounds)
  else:
    rng = np.random.default_rng(0)
    pick = rng.integers(len(known), size=(2, GUESSES))
    share = rng.uniform(size=(GUESSES, 1))
    mixed = share * known[pick[0]] + (1 - share) * known[pick[1]]
    points = np.concatenate([known.mean(0)[None], mixed])
  if problem.labels is None:
    response = problem.y.mean(0).ravel()
    rows = [np.concatenate([point, response]) for point in points]
    return np.array(rows), np.zeros(len(rows), np.int32)
  labels = problem.labels
  rows = [np.repeat(points, len(labels), 0)]
  tried = [np.concatenate([labels] * len(points))]
  if layer is None and problem.y.ndim == 1:  # a class's mean with its own label
    for label in labels:
      if (problem.y == label).any():
        rows.append(known[problem.y == label].mean(0)[None])
        tried.append(label[None])
  return np.concatenate(rows), np.concatenate(tried)


@functools.lru_cache(maxsize=32)
def _steps(loss, unknown: Unknown):
  """`begin` and `step` of the simulation attack, with one record's gradient in
  the place of training."""

  def gradient(params, target, model_id):
    del model_id
    x, y = unknown.split(target.x, target.y)
    return ravel_pytree(jax.grad(loss)(params, x, y))[0]

  # Without bounds: a step cut off at an edge is no descent. Answers are cut.
  search = levenberg_marquardt.Search(bounds=None, **SETTINGS)
  return levenberg_marquardt.make(gradient, search, None, 1.0)


def _search(problem, unknown: Unknown, target, z, y) -> Found:
  """Steps the most promising candidates until the best get no better."""
  begin, step = _steps(problem.loss, unknown)
  release = levenberg_marquardt.Release(target, jnp.zeros_like(target), 0)
  states = begin(problem.params, release, jnp.asarray(z), jnp.asarray(y))
  states = levenberg_marquardt.State(
    *(np.array(leaf, np.float64) for leaf in states)
  )
  width = min(LANES, len(z))
  lanes = levenberg_marquardt.Release(
    jnp.broadcast_to(target, (width, len(target))),
    jnp.zeros((width, len(target))),
    np.zeros(width, np.int32),
  )
  for _ in range(ROUNDS + len(z) // width):
    ended = (states.residual <= CONVERGED) | (states.stalls >= PATIENCE)
    promise = np.where(states.steps == 0, OPTIMISM * states.cost, states.cost)
    promise = np.where(ended | ~np.isfinite(promise), np.inf, promise)
    rank = np.argsort(promise)
    pick = rank[:width]
    best = np.nanargmin(states.cost)
    hopeless = promise[pick[0]] > states.cost[best]
    if not np.isfinite(promise[pick[0]]) or (
      hopeless and ended[best] and states.steps.min() > 1
    ):
      break
    stepped = step(
      problem.params,
      lanes,
      jnp.asarray(y[pick]),
      levenberg_marquardt.State(*(leaf[pick] for leaf in states)),
    )
    for leaf, value in zip(states, stepped):
      leaf[pick] = np.asarray(value)
  return Found(states.x, y, states.cost, states.residual)
