"""How far off a record is that explains the missing gradient not quite.

What is left, e = G - ∇ℓ(θ; x, y), was never a record's gradient: training
stopped short, or something known is wrong. Linearised, a disturbance h of G
moves the answer by J⁺h and leaves (I - J J⁺)h, with J = ∂∇ℓ/∂x. So what is left
tells how large the disturbance was, once its kind is known. Of three kinds,

  white noise, records of the fixed set weighted at random (mini-batches, a
  wrong record), and the parameters themselves (a wrong l2),

each is scaled until it leaves as much as there is left, and the worst counts.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.stationarity import dense, linear, missing
from informed_recon.types import Reconstruction

DRAWS = 8  # random weightings of the known records
SAFETY = 3.0  # times the estimated error that must be small
SMALL = 1e-3  # rms error to vouch for, over the range of a feature
RANK = 1e-11  # smallest curvature over the largest that counts as known
LEFT_OVER = 1e-9  # least share of a disturbance that can be seen
TINY = 1e-300
MARGIN = 10.0  # by which other labels must explain worse
APART = 1e-2  # rms distance over the range, of answers that are not the same


def verdict(problem, unknown, target, layer, found) -> Reconstruction:
  """The best candidate with its error, and whether to vouch for it."""
  best = int(np.nanargmin(found.cost))
  z, label = found.z[best], found.y[best]
  x, y = unknown.split(z, label)
  residual = float(found.residual[best])
  error, rank, seen = _errors(problem, unknown, target, z, label)
  low, high = problem.bounds
  scale = high - low
  if not np.isfinite(scale):
    scale = np.sqrt(np.mean(np.square(problem.x))) or 1.0
  doubts = []
  x, sought = np.clip(x, low, high), x
  if not np.sqrt(np.mean(np.square(x - sought))) <= SMALL * scale:
    others = np.any((problem.x < low) | (problem.x > high))
    doubts.append(
      f"what explains the release lies outside bounds=({low:g}, {high:g})"
      + (", as known records do" if others else "")
    )
  if not seen:
    doubts.append("nothing is left over to check the record against")
  if not rank:
    doubts.append("the gradient does not determine every feature")
  rms = float(np.sqrt(np.mean(np.square(error))))
  if not SAFETY * rms <= SMALL * scale:
    doubts.append(
      f"an estimated error of {rms:.1e} a feature is too large: not at a "
      "stationary point, or l2, loss or a known record is wrong"
    )
  gap = np.sqrt(np.mean(np.square(found.z - z), 1)) / scale
  same = (found.y == label).reshape(len(found.y), -1).all(1)
  rivals = (found.residual <= MARGIN * max(residual, 1e-12)) & (
    ~same | (gap > APART)
  )
  if rivals.any():
    doubts.append("another record or label explains the release as well")
  if layer is None:
    twins = same & (found.residual <= MARGIN * max(residual, 1e-9))
    if (twins & (gap <= APART)).sum() < 2:
      doubts.append("no second start led to the same record")
  others = (
    unknown.split(found.z[i], found.y[i]) for i in np.flatnonzero(rivals)
  )
  return Reconstruction(
    x=x,
    y=y[()] if isinstance(y, np.ndarray) and not y.ndim else y,
    identifiable=not doubts,
    residual=residual,
    candidates=((x, y), *((np.clip(a, low, high), b) for a, b in others)),
    message="; ".join(doubts),
    error=error.reshape(unknown.shape),
    checked=bool(seen),
  )


def estimate(problem, unknown, found, error) -> Reconstruction:
  """The best candidate of `generalised.solve`, never vouched for: its error is
  that of a model of what training left, which it may not have left."""
  best = int(np.nanargmin(found.cost))
  low, high = problem.bounds
  near = np.argsort(found.cost)
  candidates = [unknown.split(found.z[i], found.y[i]) for i in near]
  x, y = candidates[0]
  error = error[: unknown.size]
  rms = float(np.sqrt(np.mean(np.square(error))))
  return Reconstruction(
    x=np.clip(x, low, high),
    y=y[()] if isinstance(y, np.ndarray) and not y.ndim else y,
    identifiable=False,
    residual=float(found.residual[best]),
    candidates=tuple((np.clip(a, low, high), b) for a, b in candidates),
    message=f"an estimated error of {rms:.1e} a feature: not at a stationary "
    "point, or l2, loss or a known record is wrong",
    error=error.reshape(unknown.shape),
  )


def _errors(problem, unknown, target, z, label):
  """Standard error of each feature (d,), whether J has full rank, and whether
  a disturbance would be seen."""
  value, normal, project, image = linear.products(problem.loss, unknown)
  here = problem.params, jnp.asarray(z), jnp.asarray(label)
  left = float(jnp.linalg.norm(target - value(*here)))
  curvature, basis = np.linalg.eigh(np.asarray(normal(*here)))
  if not curvature[0] > RANK * curvature[-1] > 0:
    return np.full(unknown.size, np.inf), False, True
  inverse = (basis / curvature) @ basis.T

  def remains(disturbances):
    """What each does to the answer, and what it leaves to be seen."""
    moves = np.asarray(project(*here, disturbances)) @ inverse
    return moves, np.asarray(disturbances - image(*here, jnp.asarray(moves)))

  _, unseen = remains(_unit(dense.gradients(problem, *dense.made_up(problem))))
  visible = np.linalg.svd(unseen, compute_uv=False) > np.sqrt(LEFT_OVER)
  moves, unexplained = remains(_disturbances(problem))
  squares = np.maximum(np.square(unexplained).sum(1, keepdims=True), LEFT_OVER)
  shaped = left**2 * np.square(moves) / squares
  white = left**2 / max(len(target) - len(z), 1) * np.diag(inverse)
  worst = np.max([white, shaped[:DRAWS].mean(0), shaped[DRAWS]], axis=0)
  return np.sqrt(worst[: unknown.size]), True, bool(visible.all())


def _disturbances(problem) -> jax.Array:
  """Known records weighted at random, and the parameters, of unit length:
  (DRAWS + 1, P)."""
  rng = np.random.default_rng(0)
  rows = [
    missing.weighted_gradient(
      problem.loss,
      problem.params,
      problem.x,
      problem.y,
      jnp.asarray(rng.choice([-1.0, 1.0], len(problem.x))),
    )
    for _ in range(DRAWS)
  ]
  return _unit(jnp.stack([*rows, ravel_pytree(problem.params)[0]]))


def _unit(rows: jax.Array) -> jax.Array:
  return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), TINY)
