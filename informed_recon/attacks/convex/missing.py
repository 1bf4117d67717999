"""What everything known leaves of the gradient, and how far to trust it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.convex import glm


def column_scale(x):
  """Root mean square of each known column; the overall one where it is 0."""
  squares = np.mean(x**2, axis=0) if len(x) else np.ones(x.shape[1])
  fallback = np.mean(squares) or 1.0
  return np.sqrt(np.where(squares > 0, squares, fallback))


def column_spread(x):
  """Standard deviation of each known column; its size where that is 0."""
  spread = np.std(x, axis=0) if len(x) else np.ones(x.shape[1])
  size = column_scale(x)
  return np.where(spread > 1e-12 * size, spread, size)


PATTERNS = 8  # random signs that the rounding to decimals is followed with


@functools.partial(jax.jit, static_argnums=0)
def rounded(family, known, released, penalty, spacing):
  """((K, d), (K,)) size of what the rounding of all weights to decimals does to
  the known gradient: root mean square over random roundings of deviation
  `spacing`. The other arguments are those of `gradient`."""
  x, y, sample_weight = known
  l2, _, _, l2_intercept = penalty

  def known_gradient(weights, intercept):
    g, g0 = glm.gradient(family, weights, intercept, x, y, sample_weight)
    return g + l2 * weights, g0 + l2_intercept * intercept

  def follow(key):
    keys = jax.random.split(key)
    moved = tuple(
      spacing * jax.random.rademacher(k, w.shape, w.dtype)
      for k, w in zip(keys, released)
    )
    return jax.jvp(known_gradient, released, moved)[1]

  errors = jax.lax.map(follow, jax.random.split(jax.random.key(0), PATTERNS))
  return tuple(jnp.sqrt(jnp.mean(e**2, axis=0)) for e in errors)


@functools.partial(jax.jit, static_argnums=0)
def gradient(family, known, released, penalty, precision):
  """Minus the gradient of everything known, and how far to trust it.

  Args:
    family: the `glm.Family`.
    known: x (n, d), y (n, K), sample_weight (n,).
    released: weights (K, d), intercept (K,).
    penalty: l2, l1, l21, l2_intercept (`Problem.penalty`).
    precision: unit roundoff of the released weights.

  Returns:
    ((K, d), (K,)) gradient and ((K, d), (K,)) size of its rounding errors:
    those of the sums, and those that the rounding of the weights causes.
  """
  x, y, sample_weight = known
  l2, l1, l21, l2_intercept = penalty

  def known_gradient(weights, intercept):
    g, g0 = glm.gradient(family, weights, intercept, x, y, sample_weight)
    square = jnp.sum(weights**2, axis=0)
    direction = weights / jnp.sqrt(jnp.where(square > 0, square, 1.0))
    return (
      g + l2 * weights + l1 * jnp.sign(weights) + l21 * direction,
      g0 + l2_intercept * intercept,
    )

  # One fixed pattern of roundings stands for all: signs that no data follow.
  signs = [
    jnp.sign(jnp.cos(7.0 + 3.1 * jnp.arange(w.size) ** 1.3)).reshape(w.shape)
    for w in released
  ]
  moved = tuple(
    precision * jnp.abs(w) * s for w, s in zip(released, signs, strict=True)
  )
  (g, g0), (dg, dg0) = jax.jvp(known_gradient, released, moved)
  r = jax.vmap(family.residual)(x @ released[0].T + released[1], y)
  r_norm = jnp.sqrt(jnp.sum((sample_weight[:, None] * r) ** 2, axis=0))
  eps = jnp.finfo(g.dtype).eps / 2
  noise = jnp.abs(dg) + eps * (
    r_norm[:, None] * jnp.sqrt(jnp.sum(x**2, axis=0))[None, :] + jnp.abs(g)
  )
  noise0 = jnp.abs(dg0) + eps * (
    r_norm * jnp.sqrt(jnp.asarray(x.shape[0], g.dtype)) + jnp.abs(g0)
  )
  return (-g, -g0), (noise, noise0)


def of(problem):
  """`gradient` of a checked problem, as arrays."""
  with jax.enable_x64(True):
    return jax.device_get(gradient(*_stated(problem), problem.precision))


def of_rounding(problem):
  """`rounded` of a checked problem, as arrays."""
  with jax.enable_x64(True):
    return jax.device_get(rounded(*_stated(problem), problem.spacing))


def _stated(problem):
  known = problem.x, problem.y, problem.sample_weight
  return (
    problem.family,
    known,
    (problem.weights, problem.bias),
    problem.penalty,
  )
