"""Levenberg-Marquardt steps by direct solution, for the few best candidates.

Conjugate gradients tell good candidates from bad ones cheaply, but leave what
the gradient hardly depends on, such as the length of a record where the first
layer has no bias. Here JᵀJ (d, d) is formed and factored in every step.
"""

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from informed_recon.attacks.stationarity import linear
from informed_recon.attacks.stationarity.problem import Found, Problem, Unknown

CANDIDATES = 4  # polished, at most
STEPS = 40
FAILURES = 12  # dampings tried in a step
SLOW = 0.9  # a step that leaves more of the residual than this is a stall
PATIENCE = 4  # stalls in a row that end a candidate
EXACT = 1e-13  # relative residual at which there is nothing left to gain
FUTILE = 30.0  # times the best residual that makes a candidate not worth it
FOUND = 1e-8  # relative residual that leaves no doubt


def best(
  problem: Problem, unknown: Unknown, target, starts, found: Found
) -> Found:
  """The candidates, the most promising of them polished.

  Args:
    problem: the question.
    unknown: what z holds.
    target: G (P,).
    starts: (C, d) where the search of each candidate began, to polish from
      there as well; None where a closed form gave the start.
    found: where the searches ended.
  """
  found = Found(*map(np.array, found))
  size, exact = float(np.linalg.norm(target)), 0
  for i in np.argsort(found.cost)[:CANDIDATES]:
    futile = found.residual[i] > FUTILE * max(found.residual.min(), EXACT)
    if (starts is None and futile) or exact == 2:
      continue
    for start in (found.z[i],) if starts is None else (starts[i], found.z[i]):
      z, cost = descend(problem, unknown, target, start, found.y[i])
      if cost < found.cost[i]:
        found.z[i], found.cost[i] = z, cost
        found.residual[i] = np.sqrt(cost) / size
      if found.residual[i] <= FOUND:
        exact += 1
        break
  return found


def descend(problem, unknown, target, z, label, posterior=None):
  """Where the steps from z end, and the squared misfit there.

  With a `generalised.Posterior` the misfit is (∇ℓ - G)ᵀ C⁻¹ (∇ℓ - G) and the
  prior's.
  """
  value = linear.products(problem.loss, unknown)[0]
  size = float(jnp.linalg.norm(target))

  def misfit(z):
    left = value(problem.params, jnp.asarray(z), jnp.asarray(label)) - target
    left = np.asarray(left)
    if posterior is None:
      return left, float(left @ left)
    off = z - posterior.mean
    cost = left @ posterior.shape.apply(left) + posterior.precision @ off**2
    return left, float(cost)

  left, cost = misfit(z)
  damping, stalls = 1e-3, 0
  # Of noise something always stays.
  patience = PATIENCE if posterior is None else 1
  for _ in range(STEPS):
    if not np.sqrt(cost) > EXACT * size or stalls >= patience:
      break
    matrix, slope = normal_equations(
      problem, unknown, z, label, left, posterior
    )
    if not np.isfinite(matrix).all():
      break
    scale, before = np.max(np.diag(matrix)), cost
    for _ in range(FAILURES):
      try:
        ridge = damping * scale * np.eye(len(z))
        move = linalg.cho_solve(linalg.cho_factor(matrix + ridge), -slope)
        new_left, new = misfit(z + move)
      except linalg.LinAlgError:
        new = np.inf
      if new < cost:
        z, left, cost = z + move, new_left, new
        damping = max(damping / 10, 1e-15)
        break
      damping *= 10
    else:
      break
    stalls = stalls + 1 if np.sqrt(cost / before) > SLOW else 0
  return z, cost


def normal_equations(problem, unknown, z, label, left, posterior=None):
  """(JᵀJ, Jᵀ left), or with a posterior JᵀC⁻¹J and JᵀC⁻¹ left, and the prior's
  part in both."""
  _, normal, project, _ = linear.products(problem.loss, unknown)
  here = problem.params, jnp.asarray(z), jnp.asarray(label)
  matrix = np.asarray(normal(*here))
  if posterior is None:
    return matrix, np.asarray(project(*here, jnp.asarray(left)[None]))[0]
  shape = posterior.shape
  rows = np.concatenate([shape.apply(left)[None], shape.basis.T])
  rows = np.asarray(project(*here, jnp.asarray(rows)))
  slope, seen = rows[0], rows[1:]  # seen: Uᵀ J
  matrix = matrix - (seen.T * shape.weight) @ seen
  matrix += np.diag(posterior.precision)
  return matrix, slope + posterior.precision * (z - posterior.mean)
