"""Where training stopped short: generalised least squares, with a prior.

What is left of the gradient has a shape (`leftover`), and a record is not far
from the known ones: their mean μ, give or take their standard deviation s of a
feature. So the answer is the mode of the posterior, which minimises over x, for
each of the likeliest labels,

  (∇ℓ(θ; x, y) - G)ᵀ C⁻¹ (∇ℓ(θ; x, y) - G) + a ‖x - μ‖² / s²,

a the variance that is left. Where a is small the prior says nothing.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from informed_recon.attacks.stationarity import leftover, linear, polish
from informed_recon.attacks.stationarity.problem import Found, Problem, Unknown

CANDIDATES = 4  # labels and starts, the likeliest


class Posterior(NamedTuple):
  """What `polish.descend` minimises: C⁻¹, and the prior."""

  shape: leftover.Shape
  mean: np.ndarray  # μ (len(z),)
  precision: np.ndarray  # a / s² (len(z),)


def solve(problem: Problem, unknown: Unknown, target, found: Found):
  """The likeliest candidates, with cost and `residual` in terms of C.

  Args:
    problem: the question.
    unknown: what z holds.
    target: G (P,).
    found: candidates of plain least squares.

  Returns:
    (`Found` of `CANDIDATES`, standard error of each number of the best z).
  """
  order = np.argsort(found.cost)[:CANDIDATES]
  few = Found(*(a[order[np.isfinite(found.cost[order])]] for a in found))
  target, size = np.asarray(target), few.z.shape[1]
  mean, sharpness = _prior(problem, unknown, size)
  left = _left(problem, unknown, target, few)
  without = leftover.slow(problem, left)
  posterior = Posterior(without, mean, 0 * sharpness)
  few = _all(problem, unknown, target, few, posterior)
  left = _left(problem, unknown, target, few)
  shape = leftover.fitted(without, leftover.records(problem, without), left)

  def variance(left):
    free = max(len(left) - len(without.weight) - size, 1)
    return left @ shape.apply(left) / free

  posterior = Posterior(shape, mean, variance(left) * sharpness)
  few = _all(problem, unknown, target, few, posterior)
  left, best = _left(problem, unknown, target, few), np.argmin(few.cost)
  matrix, _ = polish.normal_equations(
    problem, unknown, few.z[best], few.y[best], left, posterior
  )
  spread = np.full(size, np.inf)
  if np.isfinite(matrix).all():
    spread = variance(left) * np.diag(linalg.pinvh(matrix))
  scale = np.sqrt(target @ shape.apply(target))
  return few._replace(residual=np.sqrt(few.cost) / scale), np.sqrt(spread)


def _left(problem, unknown, target, few: Found) -> np.ndarray:
  """∇ℓ - G (P,) of the best candidate."""
  value, best = linear.products(problem.loss, unknown)[0], np.argmin(few.cost)
  here = problem.params, jnp.asarray(few.z[best]), jnp.asarray(few.y[best])
  return np.asarray(value(*here)) - target


def _all(problem, unknown, target, few: Found, posterior: Posterior) -> Found:
  """Every candidate moved to where the posterior is largest."""
  ends = [
    polish.descend(problem, unknown, target, z, label, posterior)
    for z, label in zip(few.z, few.y)
  ]
  z, cost = (np.array(column) for column in zip(*ends))
  return few._replace(z=z, cost=cost)


def _prior(problem: Problem, unknown: Unknown, size: int):
  """μ and 1 / s² of z; a response, where it is sought, has none."""
  x = problem.x.reshape(len(problem.x), -1)
  mean, sharpness = np.zeros(size), np.zeros(size)
  mean[: unknown.size] = x.mean(0)
  sharpness[: unknown.size] = 1 / (x.var(0).mean() or 1.0)
  return mean, sharpness
