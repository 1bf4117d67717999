"""Convex models fitted to their optimum, one or one a target, in float64.

A closed-form attack divides by the target's residual, so that a model which
stopped at a gradient of 1e-4 gives nothing away of a record that is fitted to
1e-4. `fit` goes down to rounding; `fit_many` does so for thousands of models
that share all records but one.

Letters: n records, d features, K outputs, D = d + 1 (intercept last),
P = K D parameters, B targets.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve

from informed_recon import glm

# Step lengths tried at once, where a step has to be shortened.
_SHORTER = 0.5 ** np.arange(0, 30)
# A gradient this small against the target's own residual ends `fit_many`.
GOAL = 1e-13
# Past steps that Anderson mixing looks at.
_MEMORY = 8
MAX_STEPS = 100


class Fitted(NamedTuple):
  """Models at their optimum."""

  weights: np.ndarray  # (K, d) or (B, K, d) float64
  intercept: np.ndarray | None  # (K,) or (B, K) float64
  # () largest entry of the gradient that is left; (B,) from `fit_many`, there
  # relative to the largest entry of the target's residual.
  gradient: np.ndarray
  steps: np.ndarray  # () or (B,) steps taken


def encode(family: str, y, n_classes: int | None = None) -> np.ndarray:
  """Responses as the losses want them, (n, K): one-hot for softmax.

  Args:
    family: a name of `glm.FAMILIES`.
    y: (n,) classes in [0, n_classes), or (n,) or (n, K) numbers.
    n_classes: only for softmax.
  """
  y = np.asarray(y)
  if family == "softmax":
    return np.eye(n_classes)[y]
  y = y.astype(np.float64).reshape(len(y), -1)
  return 2.0 * y - 1.0 if family == "squared_hinge" else y


def _design(x, intercept: bool):
  x = np.asarray(x, np.float64)
  return np.concatenate([x, np.ones((len(x), 1))], axis=1) if intercept else x


def _penalties(d, l2, intercept, penalise_intercept):
  penalty = np.full(d + intercept, float(l2))
  if intercept and not penalise_intercept:
    penalty[-1] = 0.0
  return penalty


def _shift(family, theta, penalty):
  """(D,) sums over classes of what a softmax leaves undetermined.

  Adding one number to all outputs changes no probability, so along that shift
  a coefficient without penalty is free, and rounding would carry it away.
  Half the squared shift joins the objective: it is zero at the optimum, which
  it selects, and changes nothing else.
  """
  free = (penalty == 0) & (family is glm.SOFTMAX)
  return jnp.where(free, jnp.sum(theta, axis=0), 0.0)


def _loss(family, theta, x, y, penalty):
  losses = jax.vmap(family.loss)(x @ theta.T, y)
  free = _shift(family, theta, penalty)
  return (
    jnp.sum(losses) + 0.5 * jnp.sum(penalty * theta**2) + 0.5 * jnp.sum(free**2)
  )


def _gradient(family, theta, x, y, penalty):
  r = jax.vmap(family.residual)(x @ theta.T, y)
  return r.T @ x + penalty * theta + _shift(family, theta, penalty)


def _hessian(family, theta, x, y, penalty):
  """(P, P) Hessian."""
  curvature = jax.vmap(jax.jacfwd(family.residual))(x @ theta.T, y)  # (n, K, K)
  K, D = theta.shape
  pairs = jnp.asarray([(k, m) for k in range(K) for m in range(K)])
  # One (D, D) block at a time: all at once would copy the data K^2 times.
  blocks = jax.lax.map(
    lambda km: (x * curvature[:, km[0], km[1]][:, None]).T @ x, pairs
  )
  h = blocks.reshape(K, K, D, D).transpose(0, 2, 1, 3).reshape(K * D, K * D)
  h = h + jnp.diag(jnp.tile(penalty, K))
  if family is glm.SOFTMAX:
    h = h + jnp.kron(jnp.ones((K, K)), jnp.diag(1.0 * (penalty == 0)))
  return h


def _newton_cg(theta, loss, grad, max_steps):
  """Damped Newton steps by conjugate gradients, as far as rounding lets it.

  Args:
    theta: (K, D) start.
    loss, grad: the objective and its gradient, functions of theta.
    max_steps: limit on Newton steps.

  Returns:
    theta, its gradient's largest entry, steps taken.
  """

  def step(state):
    theta, g, steps, _ = state

    def product(v):
      return jax.jvp(grad, (theta,), (v,))[1]

    size = jnp.linalg.norm(g)
    # Loose far from the optimum, tight near it: superlinear overall.
    direction, _ = jax.scipy.sparse.linalg.cg(
      product,
      -g,
      tol=jnp.clip(jnp.sqrt(size / scale), 1e-6, 0.1),
      maxiter=1000,
    )
    lengths = jnp.asarray(_SHORTER[:12])
    losses = jax.lax.map(lambda a: loss(theta + a * direction), lengths)
    losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    # Near the optimum losses differ by rounding only: then take the full step,
    # and end where the gradient does not shrink any more either.
    now = loss(theta)
    flat = now - jnp.min(losses) <= 1e-12 * jnp.abs(now)
    moved = theta + lengths[jnp.where(flat, 0, jnp.argmin(losses))] * direction
    g_moved = grad(moved)
    stuck = flat & ~(jnp.linalg.norm(g_moved) < 0.9 * size)
    return (
      jnp.where(stuck, theta, moved),
      jnp.where(stuck, g, g_moved),
      steps + 1,
      stuck,
    )

  scale = jnp.linalg.norm(grad(theta))
  start = (theta, grad(theta), 0, False)
  theta, g, steps, _ = jax.lax.while_loop(
    lambda s: (s[2] < max_steps) & ~s[3] & jnp.any(s[1] != 0), step, start
  )
  return theta, jnp.max(jnp.abs(g)), steps


@functools.partial(jax.jit, static_argnames=("family", "max_steps"))
def _fit_known(family, x, y, penalty, max_steps):
  """The model of the fixed set alone, from zero."""

  def grad(theta):
    return _gradient(family, theta, x, y, penalty)

  theta = jnp.zeros((y.shape[1], x.shape[1]), x.dtype)
  return _newton_cg(
    theta,
    lambda theta: _loss(family, theta, x, y, penalty),
    grad,
    max_steps,
  )


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


def _add_target(family, theta, factor, x, y, penalty, target, max_steps):
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
    known = _gradient(family, theta_here, x, y, penalty)
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
def _each_target(
  family, theta, factor, x, y, penalty, targets, max_steps, chunk
):
  return jax.lax.map(
    lambda target: _add_target(
      family, theta, (factor, False), x, y, penalty, target, max_steps
    ),
    targets,
    batch_size=chunk,
  )


@functools.partial(jax.jit, static_argnames="family")
def _factor(family, theta, x, y, penalty):
  return cho_factor(_hessian(family, theta, x, y, penalty))[0]


def _split(theta, intercept):
  theta = np.asarray(theta)
  if not intercept:
    return theta, None
  return theta[..., :-1], theta[..., -1]


def fit(
  family: str,
  x,
  y,
  *,
  l2: float = 0.0,
  intercept: bool = True,
  penalise_intercept: bool = False,
  link: str | None = None,
) -> Fitted:
  """Fits one model to its optimum; objective as in `attacks.convex`.

  Args:
    family: a name of `glm.FAMILIES` with a curvature that is continuous (all
      but "squared_hinge"; gamma with its log link).
    x: (n, d) features.
    y: (n, K) responses, from `encode`.
    l2: weight of the penalty, sum form.
    intercept: whether the model has one.
    penalise_intercept: whether it is under the penalty.
    link: see `glm.get`.

  Cost: conjugate-gradient steps, of two products with x each.
  """
  x = _design(x, intercept)
  penalty = _penalties(
    x.shape[1] - intercept, l2, intercept, penalise_intercept
  )
  with jax.enable_x64(True):
    theta, size, steps = _fit_known(
      glm.get(family, link), x, np.asarray(y, np.float64), penalty, MAX_STEPS
    )
    return Fitted(
      *_split(theta, intercept), np.asarray(size), np.asarray(steps)
    )


def fit_many(
  family: str,
  x,
  y,
  target_x,
  target_y,
  *,
  l2: float = 0.0,
  intercept: bool = True,
  penalise_intercept: bool = False,
  link: str | None = None,
  chunk: int = 50,
  max_steps: int = 60,
) -> Fitted:
  """Fits B models, each to the fixed set and one target, to their optimum.

  All start from the model without a target and share one Cholesky factor of
  its Hessian, so that a step costs two products with x and one solve a model.

  Args:
    family, l2, intercept, penalise_intercept, link: as in `fit`.
    x: (n, d) features of the fixed set.
    y: (n, K) its responses, from `encode`.
    target_x: (B, d).
    target_y: (B, K), from `encode`.
    chunk: models worked on at once (memory: chunk * (n + P) * K numbers).
    max_steps: limit on the steps of a model.

  Returns:
    `Fitted` with B models; `gradient` says how close each came.
  """
  x, target_x = _design(x, intercept), _design(target_x, intercept)
  penalty = _penalties(
    x.shape[1] - intercept, l2, intercept, penalise_intercept
  )
  with jax.enable_x64(True):
    member = glm.get(family, link)
    y = np.asarray(y, np.float64)
    targets = (target_x, np.asarray(target_y, np.float64))
    known = (x, y, penalty)
    theta, _, _ = _fit_known(member, *known, MAX_STEPS)
    factor = _factor(member, theta, *known)
    theta, size, steps = _each_target(
      member, theta, factor, *known, targets, max_steps, chunk
    )
    return Fitted(
      *_split(theta, intercept), np.asarray(size), np.asarray(steps)
    )
