"""An answer held against the information matrix that a model states.

Maximum likelihood comes with a covariance, the inverse of the information
sum_i t_i w_i x_i x_i^T, w = d^2 loss / dh^2. What the known records lack of it
is the missing record's own, t w (x, 1) (x, 1)^T, which no wrong record has.
Information is linear in the records, so that both are compared in columns of
mean 0 and size 1.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.convex import glm, inputs, missing

# Of a disagreement: an answer that this checks, and a wrong one.
AGREES, DISAGREES = 3e-3, 3e-2
ROUNDING = 1e-12  # of the covariance, relative


def disagreement(
  problem: inputs.Problem, found, stated, observed: bool
) -> float | None:
  """How far the stated information is from that of the known records and the
  one found, relative to the latter's; None where it does not tell.

  Args:
    problem: with an intercept.
    found: the `Reconstruction` to check.
    stated: (P, P) the inverse of the information matrix, of each output's
      weights and then its intercept; without the first output of softmax.
    observed: whether it is the observed information, not the expected.
  """
  known = problem.intercept is not None and not np.isnan(found.x).any()
  if stated is None or not known:
    return None
  d = problem.weights.shape[1]
  outputs = len(problem.weights) - (problem.family is glm.SOFTMAX)
  if np.shape(stated) != (outputs * (d + 1),) * 2:
    return None
  mean, spread = problem.x.mean(0), missing.column_spread(problem.x)
  centre = np.eye(d + 1)
  centre[:d, d] = -mean
  centre[:d] /= spread[:, None]
  back = np.kron(np.eye(outputs), np.linalg.inv(centre))
  try:
    stated = np.linalg.inv(back.T @ stated @ back)
  except np.linalg.LinAlgError:
    return None
  theta = np.column_stack([problem.weights, problem.intercept])
  theta = np.linalg.solve(centre.T, theta.T).T
  rows = np.vstack([problem.x, found.x])
  rows = np.column_stack([rows, np.ones(len(rows))]) @ centre.T
  y = found.y
  if problem.labels:
    y = problem.codes[problem.labels.index(y)]
  y = np.vstack([problem.y, np.reshape(y, (1, -1))])
  with jax.enable_x64(True):
    bends = _bends(problem.family, theta, rows, y, observed)
  bends = np.asarray(bends)[:, -outputs:, -outputs:]
  each = np.einsum("ijk,ia,ib->ijakb", bends, rows, rows)
  each = each.reshape(len(rows), *stated.shape)
  known = np.tensordot(problem.sample_weight, each[:-1], 1)
  own = problem.target_weight * each[-1]
  gap = np.linalg.norm(stated - known - own)
  if gap <= np.linalg.norm(known) * np.linalg.cond(stated) * ROUNDING:
    gap = min(gap, DISAGREES * np.linalg.norm(own))  # no proof of anything
  return float(gap / np.linalg.norm(own))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _bends(family, theta, rows, y, observed: bool):
  """Each row's second derivative of the loss by the predictors (m, K, K),
  observed or expected."""
  slope = jax.jacfwd(family.residual)

  def bend(row, y):
    h = theta @ row
    if observed or family is glm.LINEAR:
      return slope(h, y)
    if family.response is None:  # over the two classes
      one, zero = jnp.ones(1), jnp.zeros(1)
      p = jnp.exp(-family.loss(h, one))
      return p * slope(h, one) + (1 - p) * slope(h, zero)
    return slope(h, family.response(h, jnp.zeros_like(h)))

  return jax.vmap(bend)(rows, y)
