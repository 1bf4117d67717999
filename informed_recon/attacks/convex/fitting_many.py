"""Thousands of convex models that share all records but one, each fitted to
its optimum in float64.

Letters: n records of the fixed set, d features, K outputs, D = d + 1 (intercept
last), P = K D parameters, B targets.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve

from informed_recon.attacks.convex import fitting, glm

# A gradient this small against the target's own residual ends a fit.
GOAL = 1e-13
# How far the model without a target is fitted, as a share of its first
# gradient: the steps for each target take the rest along.
_BASE_GOAL = 1e-8
# Past steps that Anderson mixing looks at.
_MEMORY = 8
# Step lengths tried at once, where a step has to be shortened.
_SHORTER = 0.5 ** np.arange(0, 30)


@functools.partial(jax.jit, static_argnames="family")
def _factor(family, theta, data):
  return cho_factor(fitting.hessian(family, theta, data))[0]


def _proximal(family, h, center, spread, y):
  """Solves h = center - spread r(h): the target's own part of a Newton step.

  The minimiser of loss(h) + |h - center|^2 / 2 in the metric of `spread`. The
  record that is new to the model moves its own predictor the most, far out of
  reach of a quadratic model, so this part is solved exactly.
  """

  def off(h):
    return h - center + spread @ family.residual(h, y)

  def step(_, h):
    slope = jnp.eye(h.size) + spread @ jax.jacfwd(family.residual)(h, y)
    tried = h - jnp.asarray(_SHORTER)[:, None] * jnp.linalg.solve(slope, off(h))
    sizes = jnp.linalg.norm(jax.vmap(off)(tried), axis=1)
    best = jnp.argmin(jnp.where(jnp.isnan(sizes), jnp.inf, sizes))
    return tried[best]

  return jax.lax.fori_loop(0, 25, step, h)


def _add_target(family, theta, factor, data, target, max_steps):
  """Adds one target to the model that was fitted without it.

  Chord steps: the Hessian of everything known stays factored where it was, at
  the optimum without the target, while the target's own loss is exact. Where
  the target moves the others' curvature these converge slowly or not at all;
  Anderson mixing of the last steps (Walker and Ni 2011, section 2) restores
  the pace, and a mixture that goes astray is dropped for a shorter step from
  the best point so far.
  """
  tx, ty = target
  jacobian = jnp.kron(jnp.eye(ty.size), tx[None])  # (K, P), of h by theta
  towards = cho_solve(factor, jacobian.T)  # (P, K)
  spread = jacobian @ towards  # (K, K)

  def measure(flat):
    """The proposed step at theta, and the size of the gradient there.

    Relative to the target's residual, which is what an attack divides by.
    """
    theta_here = flat.reshape(theta.shape)
    known = fitting.gradient(family, theta_here, data)
    h = theta_here @ tx
    own = family.residual(h, ty)
    size = jnp.max(jnp.abs(known + jnp.outer(own, tx)))
    size = size / jnp.max(jnp.abs(own))
    u = cho_solve(factor, known.ravel())
    h = _proximal(family, h, h - jacobian @ u, spread, ty)
    move = -(u + towards @ family.residual(h, ty))
    return move, jnp.where(jnp.isnan(size), jnp.inf, size)

  def mix(moves, points, move, fill):
    """Coefficients of the past differences that cancel the step best."""
    used = jnp.arange(_MEMORY) < fill
    d = jnp.where(used[:, None], moves, 0.0)
    gram = d @ d.T
    ridge = 1e-14 * jnp.trace(gram) + jnp.where(used, 0.0, 1.0)
    gamma = jnp.linalg.solve(gram + jnp.diag(ridge), d @ move)
    return move - gamma @ (d + jnp.where(used[:, None], points, 0.0))

  def step(s):
    moved = s.at + jnp.where(
      s.fill > 0, mix(s.moves, s.points, s.move, s.fill), s.length * s.move
    )
    move, size = measure(moved)
    astray = ~(size < 10 * s.best_size)
    better = size < s.best_size
    slot = s.steps % _MEMORY
    return _Chord(
      at=jnp.where(astray, s.best, moved),
      move=jnp.where(astray, s.best_move, move),
      best=jnp.where(better, moved, s.best),
      best_move=jnp.where(better, move, s.best_move),
      best_size=jnp.where(better, size, s.best_size),
      points=s.points.at[slot].set(moved - s.at),
      moves=s.moves.at[slot].set(move - s.move),
      # The ring is filled from slot 0 again after a restart.
      fill=jnp.where(astray, 0, jnp.minimum(s.fill + 1, _MEMORY)),
      length=jnp.where(astray & (s.fill == 0), s.length / 2, s.length),
      steps=jnp.where(astray, 0, s.steps + 1),
      total=s.total + 1,
      stuck=jnp.where(size < 0.9 * s.best_size, 0, s.stuck + 1),
    )

  start = theta.ravel()
  move, size = measure(start)
  past = jnp.zeros((_MEMORY, start.size), start.dtype)
  found = jax.lax.while_loop(
    lambda s: (s.total < max_steps) & (s.stuck < 12) & (s.best_size > GOAL),
    step,
    _Chord(start, move, start, move, size, past, past, 0, 1.0, 0, 0, 0),
  )
  return found.best.reshape(theta.shape), found.best_size, found.total


class _Chord(NamedTuple):
  """State of `_add_target`."""

  at: jax.Array  # (P,) theta now
  move: jax.Array  # (P,) the step proposed there
  best: jax.Array  # (P,) theta of the smallest gradient
  best_move: jax.Array  # (P,)
  best_size: jax.Array  # () its gradient, against the target's residual
  points: jax.Array  # (M, P) past differences of theta
  moves: jax.Array  # (M, P) past differences of the proposed step
  fill: jax.Array  # () how many of them count
  length: jax.Array  # () of a step without mixing
  steps: jax.Array  # () since the last restart
  total: jax.Array  # ()
  stuck: jax.Array  # () steps since the gradient last shrank


@functools.partial(jax.jit, static_argnames=("family", "max_steps", "chunk"))
def _each_target(family, theta, factor, data, targets, max_steps, chunk):
  return jax.lax.map(
    lambda target: _add_target(
      family, theta, (factor, False), data, target, max_steps
    ),
    targets,
    batch_size=chunk,
  )


def make_fit_many(
  family: str,
  x,
  y,
  *,
  l2: float = 0.0,
  intercept: bool = True,
  penalise_intercept: bool = False,
  link: str | None = None,
  chunk: int = 50,
  max_steps: int = 60,
) -> Callable[..., fitting.Fitted]:
  """Returns `fit_many(target_x, target_y) -> Fitted`.

  It fits B models, each to the fixed set and one target, to their optimum. All
  start from the model without a target, fitted here, and share one Cholesky
  factor of its Hessian, so that a step costs two products with x and one solve
  a model.

  Args:
    family, l2, intercept, penalise_intercept, link: as in `fitting.fit`.
    x: (n, d) features of the fixed set.
    y: (n, K) its responses, from `fitting.encode`.
    chunk: models worked on at once (memory: chunk * (n + 20 P) numbers).
    max_steps: limit on the steps of a model.

  `fit_many` takes features (B, d) and responses (B, K); the `gradient` in what
  it returns says how close each model came.
  """
  member = glm.get(family, link)
  objective = dict(
    l2=l2, intercept=intercept, penalise_intercept=penalise_intercept
  )
  base = fitting.fit(family, x, y, link=link, goal=_BASE_GOAL, **objective)
  data = fitting.make_data(x, y, **objective)
  theta = base.weights
  if intercept:
    theta = np.concatenate([theta, base.intercept[:, None]], axis=1)
  with jax.enable_x64(True):
    factor = _factor(member, theta, data)

  def fit_many(target_x, target_y):
    targets = (
      fitting.design(target_x, intercept),
      np.asarray(target_y, np.float64),
    )
    with jax.enable_x64(True):
      found, size, steps = _each_target(
        member, theta, factor, data, targets, max_steps, chunk
      )
      return fitting.Fitted(
        *fitting.split(found, intercept), np.asarray(size), np.asarray(steps)
      )

  return fit_many
