"""The record out of a gradient that drowns in the rounding of the weights.

A record that is fitted nearly perfectly has a gradient as small as what the
rounding of the released weights does to everybody else's. That error is not
white. A weight's rounding e moves the known gradient by H e, H the Hessian of
everything known: thousands of times further along some directions than along
others. So do the last digits of each known predictor h_i, which neither solver
nor attack can see. With s the weights' rounding, u float64's and
B_i = dr_i / dh_i at known record i,

    C = H diag(s^2) H + sum_i u^2 max(h_i^2) B_i^2 (x) x~_i x~_i^T
        + rounding of the sums

is the errors' covariance up to a factor, and the record solves the generalised
least squares problem (Aitken 1936)

    min over x, y of  (G - t r x~^T)^T C^-1 (G - t r x~^T),   r = r(W x + b, y),

x~ = (x, 1), by damped Gauss-Newton steps. These are K (d + 1) equations for d
unknowns: what they leave over says how large the errors are, and whether they
are of this kind at all.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg

from informed_recon.attacks.convex import fitting, glm, inputs, missing, trust
from informed_recon.types import Reconstruction

# Equations to spare at least, and coefficients at most: C has the square of
# that many entries.
MANY, MOST = 1000, 10_000
# Expected error of the closed form, in columns' spread, beyond which weighing
# brings no record back.
HOPELESS = 0.3
# What is left over of an equation, in variances of C: five times the errors
# that it counts. More is not rounding.
LEFT = 25.0
# Another label is ruled out where it leaves this many times more, in variances.
RULED_OUT = 30.0
STEPS = 15  # at most, of one label


def helps(problem: inputs.Problem, found: Reconstruction) -> bool:
  """Whether weighing may bring a record back that `found` does not vouch for.

  It takes a thousand equations to spare, and errors that are nothing but
  float64's: what a solver leaves is known in size alone, and coarser weights
  bend the known gradient by more than H tells.
  """
  outputs, d = problem.weights.shape[-2:]
  return bool(
    not found.identifiable
    and problem.family is glm.SOFTMAX  # nothing else was tried
    and problem.intercept is not None
    and (outputs - 2) * d >= MANY
    and outputs * (d + 1) <= MOST
    and problem.precision <= 1e-12
    and problem.decimals is None
    and not any(np.any(left) for left in problem.leftover)
    and problem.l1 == problem.l21 == 0
    and _expected(problem, found.error) <= HOPELESS
  )


def _expected(problem: inputs.Problem, error) -> float:
  share = error / missing.column_spread(problem.x)
  return float(np.sqrt(np.mean(share**2)))


def precision_matrix(problem: inputs.Problem) -> jax.Array | None:
  """C^-1, (K D, K D), of each output's D = d + 1 weights, the intercept last.

  Memory: three matrices of that size. Models that differ in their target alone
  share it. None where C is singular to rounding.
  """
  theta = np.column_stack([problem.weights, problem.intercept])
  data = fitting.Data(
    fitting.design(problem.x, True),
    problem.y,
    np.append(np.full(problem.x.shape[1], problem.l2), problem.l2_intercept),
  )
  with jax.enable_x64(True):
    parts = _parts(problem.family, theta, data, problem.sample_weight)
    hessian, c, sums = (np.array(part) for part in parts)
  hessian *= problem.precision * np.abs(theta).ravel()
  c += hessian @ hessian.T
  del hessian
  diagonal = np.einsum("ii->i", c)
  diagonal += sums.ravel() + 1e-12 * np.mean(diagonal)
  size = np.sqrt(diagonal)  # columns may have any units
  c /= size
  c /= size[:, None]
  diagonal += 1e-13
  c, failed = linalg.lapack.dpotrf(c, lower=1, overwrite_a=1)
  if failed:
    return None
  c, _ = linalg.lapack.dpotri(c, lower=1, overwrite_c=1)
  c += np.tril(c, -1).T - np.triu(c, 1)
  c /= size
  c /= size[:, None]
  with jax.enable_x64(True):
    return jnp.asarray(c)


@functools.partial(jax.jit, static_argnums=0)
def _parts(family, theta, data, sample_weight):
  """(P, P) Hessian, (P, P) covariance of what the last digits of predictors do
  to the gradient, and (K, D) variances of the rounding of its sums."""
  h = data.x @ theta.T
  unit = (jnp.finfo(h.dtype).eps / 2) ** 2
  bend = jax.vmap(jax.jacfwd(family.residual))(h, data.y)
  bend = bend * sample_weight[:, None, None]
  off = unit * jnp.max(h**2, axis=1)
  r = jax.vmap(family.residual)(h, data.y) * sample_weight[:, None]
  hessian = fitting.weighted_gram(data.x, bend)
  return (
    hessian + jnp.diag(jnp.tile(data.penalty, len(theta))),
    fitting.weighted_gram(data.x, bend @ bend * off[:, None, None]),
    unit * (r**2).T @ data.x**2,
  )


def reconstruct(
  problem: inputs.Problem, inverse, found: Reconstruction
) -> Reconstruction:
  """The answer that `found` becomes by weighing its equations with C^-1.

  It is `found` itself where the new one may not be vouched for either.

  Args:
    problem: one released model.
    inverse: (K D, K D) of `precision_matrix`.
    found: what the closed form computed, the point to start from.
  """
  outputs, d = problem.weights.shape
  (m, m0), _ = missing.of(problem)
  g = np.column_stack([m, m0]) / problem.target_weight
  released = (problem.weights, problem.intercept)
  with jax.enable_x64(True):
    start = np.clip(found.x, problem.x.min(axis=0), problem.x.max(axis=0))
    likely = _likely(problem.family, inverse, g, released, start, problem.codes)
    order = np.asarray(likely)[:2]
    fits = jax.device_get(
      [
        _fit(problem.family, inverse, g, released, start, problem.codes[code])
        for code in order
      ]
    )
  best = min(range(len(fits)), key=lambda i: fits[i][2])
  x, error, left = fits[best]
  spare = outputs * (d + 1) - d
  unit = float(left) / spare  # variance of the errors, in that of C
  error = error * np.sqrt(unit)
  others = [fit[2] for i, fit in enumerate(fits) if i != best]
  if (
    not np.all(np.isfinite(error))
    or trust.too_uncertain(problem, error)
    # Not rounding: stopped early, or other records or another penalty.
    or not unit <= LEFT
    or any(not other - left > RULED_OUT * unit for other in others)
  ):
    return found
  label = problem.labels[int(order[best])]
  return found._replace(
    x=x,
    y=label,
    identifiable=True,
    residual=_expected(problem, error),
    candidates=((x, label),),
    message="",
    error=error,
  )


@functools.partial(jax.jit, static_argnums=0)
def _likely(family, inverse, g, released, x, codes):
  """The codes, the likeliest first: by the sign that each output's residual has
  under them, beside the residuals that fit g best at x."""
  along = _by_output(inverse, jnp.append(x, 1.0))
  known = _each_output(along, jnp.append(x, 1.0))
  r = jnp.linalg.solve(known, along.T @ g.ravel())
  h = released[0] @ x + released[1]
  signs = jnp.sign(jax.vmap(family.residual, (None, 0))(h, codes))
  return jnp.argsort(-(signs @ r) / jnp.sum(jnp.abs(r)))


def _by_output(inverse, x):
  """C^-1 times x in each output's place, (P, K)."""
  outputs = len(inverse) // len(x)
  return inverse @ jnp.kron(jnp.eye(outputs), x[:, None])


def _each_output(columns, x):
  """x in each output's place times columns (P, m): (K, m)."""
  return x @ columns.reshape(-1, len(x), columns.shape[1])


@functools.partial(jax.jit, static_argnums=0)
def _fit(family, inverse, g, released, x, code):
  """The record of one label: x (d,), its errors (d,) and the criterion ()."""
  w, b = released
  outputs, d = w.shape

  def linear(x):
    def residual(x):
      return family.residual(w @ x + b, code)

    return residual(x), jax.jacfwd(residual)(x)

  def at(x):
    """What x leaves of g, weighed, and the criterion."""
    off = (g - jnp.outer(linear(x)[0], jnp.append(x, 1.0))).ravel()
    weighed = inverse @ off
    return weighed.reshape(g.shape), off @ weighed

  def slope(x, weighed):
    r, bend = linear(x)
    return r @ weighed[:, :d] + bend.T @ (weighed @ jnp.append(x, 1.0))

  def normal(x):
    """J^T C^-1 J of J = r (x) 1 + x~ dr/dx."""
    r, bend = linear(x)
    own = jnp.append(x, 1.0)
    columns = inverse.reshape(-1, outputs, d + 1)
    mixed = sum(r[k] * columns[:, k] for k in range(outputs))[:, :d]
    square = jnp.tensordot(r, mixed.reshape(outputs, d + 1, d), 1)[:d]
    cross = _each_output(mixed, own).T @ bend
    both = _each_output(_by_output(inverse, own), own)
    return square + cross + cross.T + bend.T @ both @ bend

  def step(state):
    x, weighed, value, matrix, damping, _, count = state
    system = matrix + damping * jnp.diag(jnp.diag(matrix))
    moved = x + jnp.linalg.solve(system, slope(x, weighed))
    tried, new = at(moved)
    better = new < value
    gain = jnp.where(better, (value - new) / value, jnp.inf)
    matrix = jax.lax.cond(better, normal, lambda _: matrix, moved)
    return (
      jnp.where(better, moved, x),
      jnp.where(better, tried, weighed),
      jnp.where(better, new, value),
      matrix,
      jnp.where(better, damping / 10, damping * 10),
      gain,
      count + 1,
    )

  def going(state):
    *_, damping, gain, count = state
    return (count < STEPS) & (gain > 1e-6) & (damping < 1e8)

  begin = (x, *at(x), normal(x), 1e-3, jnp.inf, 0)
  x, _, value, matrix, *_ = jax.lax.while_loop(going, step, begin)
  return x, jnp.sqrt(jnp.diag(jnp.linalg.inv(matrix))), value
