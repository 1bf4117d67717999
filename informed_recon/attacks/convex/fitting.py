"""One convex model fitted to its optimum in float64.

A closed-form attack divides by the target's residual, so that a model which
stopped at a gradient of 1e-4 gives nothing away of a record that is fitted to
1e-4. `fit` goes down to rounding; `convex_many` does so for thousands of models
that share all records but one.

Letters: n records, d features, K outputs, D = d + 1 (intercept last),
P = K D parameters.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.convex import glm

# Step lengths tried at once, where a step has to be shortened.
_SHORTER = 0.5 ** np.arange(0, 12)
_MAX_STEPS = 100


class Fitted(NamedTuple):
  """Models at their optimum."""

  weights: np.ndarray  # (K, d) or (B, K, d) float64
  intercept: np.ndarray | None  # (K,) or (B, K) float64
  # () largest entry of the gradient that is left; (B,) where there are many,
  # then relative to the largest entry of the target's residual.
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


class Data(NamedTuple):
  """What a model is fitted to."""

  x: np.ndarray  # (n, D) float64, a column of ones last for an intercept
  y: np.ndarray  # (n, K) float64
  penalty: np.ndarray  # (D,) of (penalty / 2) theta^2


def make_data(
  x, y, l2: float, intercept: bool, penalise_intercept: bool
) -> Data:
  x = design(x, intercept)
  penalty = np.full(x.shape[1], float(l2))
  if intercept and not penalise_intercept:
    penalty[-1] = 0.0
  return Data(x, np.asarray(y, np.float64), penalty)


def design(x, intercept: bool) -> np.ndarray:
  """Features with the intercept's column, (n, D)."""
  x = np.asarray(x, np.float64)
  return np.concatenate([x, np.ones((len(x), 1))], axis=1) if intercept else x


def _shift(family, theta, penalty):
  """(D,) sums over classes of what a softmax leaves undetermined.

  Adding one number to all outputs changes no probability, so along that shift
  a coefficient without penalty is free, and rounding would carry it away.
  Half the squared shift joins the objective: it is zero at the optimum, which
  it selects, and changes nothing else.
  """
  free = (penalty == 0) & (family is glm.SOFTMAX)
  return jnp.where(free, jnp.sum(theta, axis=0), 0.0)


def loss(family: glm.Family, theta, data: Data):
  """sum_i loss(theta x_i, y_i) + sum_j penalty_j / 2 |theta_j|^2."""
  losses = jax.vmap(family.loss)(data.x @ theta.T, data.y)
  free = _shift(family, theta, data.penalty)
  squares = jnp.sum(data.penalty * theta**2) + jnp.sum(free**2)
  return jnp.sum(losses) + 0.5 * squares


def gradient(family: glm.Family, theta, data: Data):
  """(K, D) gradient of `loss`."""
  r = jax.vmap(family.residual)(data.x @ theta.T, data.y)
  shift = _shift(family, theta, data.penalty)
  return r.T @ data.x + data.penalty * theta + shift


@functools.partial(jax.jit, static_argnums=0)
def hessian(family: glm.Family, theta, data: Data, sample_weight=1.0):
  """(P, P) Hessian of `loss`, its records weighted."""
  bend = jax.vmap(jax.jacfwd(family.residual))(data.x @ theta.T, data.y)
  bend = bend * jnp.reshape(sample_weight, (-1, 1, 1))
  outputs = len(theta)
  h = weighted_gram(data.x, bend) + jnp.diag(jnp.tile(data.penalty, outputs))
  if family is glm.SOFTMAX:
    free = jnp.diag(1.0 * (data.penalty == 0))
    h = h + jnp.kron(jnp.ones((outputs, outputs)), free)
  return h


def weighted_gram(x, weights):
  """sum_i weights_i (x) x_i x_i^T of x (n, D) and symmetric weights (n, K, K):
  (P, P)."""
  outputs, width = weights.shape[1], x.shape[1]
  upper = np.array(np.triu_indices(outputs)).T
  # One (D, D) block at a time: all at once would copy the data K^2 times.
  blocks = jax.lax.map(
    lambda km: (x * weights[:, km[0], km[1]][:, None]).T @ x, upper
  )
  place = np.zeros((outputs, outputs), int)
  place[tuple(upper.T)] = place[tuple(upper.T[::-1])] = np.arange(len(upper))
  blocks = blocks[place]  # both triangles: weights and blocks are symmetric
  return blocks.transpose(0, 2, 1, 3).reshape(outputs * width, -1)


@functools.partial(jax.jit, static_argnames="family")
def _newton_cg(family, data, goal):
  """Damped Newton steps by conjugate gradients, from zero.

  Returns theta, its gradient's largest entry and the steps taken; ends at
  `goal` times the first gradient, or as far as rounding lets it.
  """

  def step(state):
    theta, g, steps, _ = state

    def product(v):
      return jax.jvp(lambda t: gradient(family, t, data), (theta,), (v,))[1]

    size = jnp.linalg.norm(g)
    # Loose far from the optimum, tight near it: superlinear overall.
    direction, _ = jax.scipy.sparse.linalg.cg(
      product,
      -g,
      tol=jnp.clip(jnp.sqrt(size / scale), 1e-6, 0.1),
      maxiter=1000,
    )
    lengths = jnp.asarray(_SHORTER)
    losses = jax.lax.map(
      lambda a: loss(family, theta + a * direction, data), lengths
    )
    losses = jnp.where(jnp.isnan(losses), jnp.inf, losses)
    # Near the optimum losses differ by rounding only: then take the full step,
    # and end where the gradient does not shrink any more either.
    now = loss(family, theta, data)
    flat = now - jnp.min(losses) <= 1e-12 * jnp.abs(now)
    moved = theta + lengths[jnp.where(flat, 0, jnp.argmin(losses))] * direction
    g_moved = gradient(family, moved, data)
    stuck = flat & ~(jnp.linalg.norm(g_moved) < 0.9 * size)
    return (
      jnp.where(stuck, theta, moved),
      jnp.where(stuck, g, g_moved),
      steps + 1,
      stuck,
    )

  theta = jnp.zeros((data.y.shape[1], data.x.shape[1]))
  g = gradient(family, theta, data)
  scale = jnp.linalg.norm(g)
  theta, g, steps, _ = jax.lax.while_loop(
    lambda s: (
      (s[2] < _MAX_STEPS) & ~s[3] & (jnp.linalg.norm(s[1]) > goal * scale)
    ),
    step,
    (theta, g, 0, False),
  )
  return theta, jnp.max(jnp.abs(g)), steps


def split(theta, intercept: bool):
  """Weights (..., K, d) and intercept (..., K) or None."""
  theta = np.asarray(theta)
  return (theta[..., :-1], theta[..., -1]) if intercept else (theta, None)


def fit(
  family: str,
  x,
  y,
  *,
  l2: float = 0.0,
  intercept: bool = True,
  penalise_intercept: bool = False,
  link: str | None = None,
  goal: float = 0.0,
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
    goal: ends where the gradient has shrunk to this share of its first size;
      0 goes on as far as rounding lets it.

  Cost: conjugate-gradient steps, of two products with x each.
  """
  data = make_data(x, y, l2, intercept, penalise_intercept)
  with jax.enable_x64(True):
    theta, size, steps = _newton_cg(glm.get(family, link), data, goal)
    return Fitted(*split(theta, intercept), np.asarray(size), np.asarray(steps))
