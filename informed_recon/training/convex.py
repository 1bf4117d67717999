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


class Fitted(NamedTuple):
  """Models at their optimum."""

  weights: np.ndarray  # (K, d) or (B, K, d) float64
  intercept: np.ndarray | None  # (K,) or (B, K) float64
  gradient: np.ndarray  # () or (B,) largest entry of the objective's gradient
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


def _loss(family, theta, x, y, penalty):
  losses = jax.vmap(family.loss)(x @ theta.T, y)
  return jnp.sum(losses) + 0.5 * jnp.sum(penalty * theta**2)


def _gradient(family, theta, x, y, penalty):
  r = jax.vmap(family.residual)(x @ theta.T, y)
  return r.T @ x + penalty * theta


def _hessian(family, theta, x, y, penalty):
  """(P, P) Hessian, with softmax's flat direction held by a unit curvature.

  Adding one number to all outputs of a softmax changes no probability, so an
  intercept out of the penalty leaves the Hessian singular along that shift.
  """
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
    flat = jnp.tile((penalty == 0).astype(h.dtype), K)
    h = h + jnp.outer(flat, flat)
  return h


@functools.partial(jax.jit, static_argnames=("family", "max_steps"))
def _newton_cg(family, theta, x, y, penalty, max_steps):
  """Damped Newton steps by conjugate gradients, down to a small gradient."""

  def grad(theta):
    return _gradient(family, theta, x, y, penalty)

  def step(state):
    theta, g, steps, _ = state

    def product(v):
      return jax.jvp(grad, (theta,), (v,))[1]

    size = jnp.linalg.norm(g)
    # Loose far from the optimum, tight near it: superlinear overall.
    direction, _ = jax.scipy.sparse.linalg.cg(
      product, -g, tol=jnp.minimum(0.1, jnp.sqrt(size / scale)), maxiter=1000
    )
    losses = jax.lax.map(
      lambda a: _loss(family, theta + a * direction, x, y, penalty),
      jnp.asarray(_SHORTER[:12]),
    )
    losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    # Near the optimum losses differ by rounding only: then take the full step,
    # and end where the gradient does not shrink any more either.
    loss = _loss(family, theta, x, y, penalty)
    flat = loss - jnp.min(losses) <= 1e-13 * jnp.abs(loss)
    best = jnp.where(flat, 0, jnp.argmin(losses))
    moved = theta + jnp.asarray(_SHORTER)[best] * direction
    g_moved = grad(moved)
    stuck = flat & (jnp.linalg.norm(g_moved) >= size)
    return (
      jnp.where(stuck, theta, moved),
      jnp.where(stuck, g, g_moved),
      steps + 1,
      stuck,
    )

  scale = jnp.linalg.norm(grad(jnp.zeros_like(theta)))
  start = (theta, grad(theta), 0, False)
  theta, _, steps, _ = jax.lax.while_loop(
    lambda s: (
      (jnp.linalg.norm(s[1]) > 1e-8 * scale) & (s[2] < max_steps) & ~s[3]
    ),
    step,
    start,
  )
  return theta, steps


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


def _fit_one(family, theta, factor, x, y, penalty, target, max_steps):
  """Adds one target to the model that was fitted without it.

  Chord iteration: the Hessian of everything known stays factored where it was,
  at the optimum without the target; the target's curvature is exact. Steps
  that do not shrink the gradient are halved; it ends where rounding does not
  let it shrink further.
  """
  tx, ty = target
  K, D = theta.shape
  shape = theta.shape
  jacobian = jnp.kron(jnp.eye(K), tx[None])  # (K, P), of h by theta
  towards = cho_solve(factor, jacobian.T)  # (P, K)
  spread = jacobian @ towards  # (K, K)

  def gradients(theta):
    known = _gradient(family, theta, x, y, penalty)
    r = family.residual(theta @ tx, ty)
    return known, jnp.max(jnp.abs(known + jnp.outer(r, tx)))

  def step(state):
    theta, known, size, length, steps, stuck = state
    u = cho_solve(factor, known.ravel())
    h = theta @ tx
    h = _proximal(family, h, h - jacobian @ u, spread, ty)
    r = family.residual(h, ty)
    moved = theta - length * (u + towards @ r).reshape(shape)
    known_moved, size_moved = gradients(moved)
    better = size_moved < size
    return (
      jnp.where(better, moved, theta),
      jnp.where(better, known_moved, known),
      jnp.where(better, size_moved, size),
      jnp.where(better, jnp.minimum(1.0, 2 * length), length / 2),
      steps + 1,
      jnp.where(better & (size_moved < 0.9 * size), 0, stuck + 1),
    )

  known, size = gradients(theta)
  theta, _, size, _, steps, _ = jax.lax.while_loop(
    lambda s: (s[4] < max_steps) & (s[5] < 4) & (s[2] > 0),
    step,
    (theta, known, size, jnp.ones((), theta.dtype), 0, 0),
  )
  return theta, size, steps


@functools.partial(jax.jit, static_argnames=("family", "max_steps", "chunk"))
def _fit_targets(
  family, theta, factor, x, y, penalty, targets, max_steps, chunk
):
  return jax.lax.map(
    lambda target: _fit_one(
      family, theta, (factor, False), x, y, penalty, target, max_steps
    ),
    targets,
    batch_size=chunk,
  )


@functools.partial(jax.jit, static_argnames="family")
def _factor(family, theta, x, y, penalty):
  return cho_factor(_hessian(family, theta, x, y, penalty))[0]


@functools.partial(jax.jit, static_argnames="family")
def _polish(family, theta, factor, x, y, penalty):
  """Chord steps with a fresh factor, as long as the gradient shrinks."""

  def step(state):
    theta, size, steps, stuck = state
    g = _gradient(family, theta, x, y, penalty)
    moved = theta - cho_solve((factor, False), g.ravel()).reshape(theta.shape)
    moved_size = jnp.max(jnp.abs(_gradient(family, moved, x, y, penalty)))
    better = moved_size < size
    return (
      jnp.where(better, moved, theta),
      jnp.where(better, moved_size, size),
      steps + 1,
      jnp.where(moved_size < 0.9 * size, 0, stuck + 1),
    )

  size = jnp.max(jnp.abs(_gradient(family, theta, x, y, penalty)))
  theta, size, steps, _ = jax.lax.while_loop(
    lambda s: (s[2] < 100) & (s[3] < 4), step, (theta, size, 0, 0)
  )
  return theta, size, steps


def _split(theta, intercept):
  theta = np.asarray(theta)
  if not intercept:
    return theta, None
  return theta[..., :-1], theta[..., -1]


def _base(family, x, y, penalty, link, max_steps=100):
  member = glm.get(family, link)
  theta = np.zeros((y.shape[1], x.shape[1]))
  theta, steps = _newton_cg(member, theta, x, y, penalty, max_steps)
  factor = _factor(member, theta, x, y, penalty)
  theta, size, polished = _polish(member, theta, factor, x, y, penalty)
  return member, theta, factor, size, steps + polished


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

  Cost: conjugate-gradient steps of two products with x each, then one
  Cholesky factor of the (P, P) Hessian.
  """
  x = _design(x, intercept)
  penalty = _penalties(
    x.shape[1] - intercept, l2, intercept, penalise_intercept
  )
  with jax.enable_x64(True):
    _, theta, _, size, steps = _base(family, x, np.asarray(y), penalty, link)
    return Fitted(*_split(theta, intercept), np.asarray(size), np.asarray(steps))


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
  max_steps: int = 100,
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
    y = np.asarray(y, np.float64)
    member, theta, factor, _, _ = _base(family, x, y, penalty, link)
    theta, size, steps = _fit_targets(
      member,
      theta,
      factor,
      x,
      y,
      penalty,
      (target_x, np.asarray(target_y, np.float64)),
      max_steps,
      min(chunk, len(target_x)),
    )
    return Fitted(*_split(theta, intercept), np.asarray(size), np.asarray(steps))
