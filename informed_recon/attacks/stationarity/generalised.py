"""Where training stopped short: generalised least squares, with a prior.

What is left of the gradient has a shape (`leftover`), and a record is not far
from the known ones: their mean μ, give or take their standard deviation s of a
feature. So the answer is the mode of the posterior, which minimises over x, for
each of the likeliest labels,

  (∇ℓ(θ; x, y) - G)ᵀ C⁻¹ (∇ℓ(θ; x, y) - G) + a ‖x - μ‖² / s²,

a the variance that is left. Where a is small the prior says nothing.

The error that follows from a and C is often too small, because what is left has
more shape than C. So it is calibrated: to first order, a few known records are
sought out of their own gradient and the same left-over. The squared error over
what a and C say of it, where above 1, multiplies the answer's (a parametric
bootstrap of one draw, Efron and Tibshirani 1993, §6.5). The other candidates
count as far as they are likely.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy import linalg

from informed_recon.attacks.stationarity import (
  dense,
  leftover,
  linear,
  polish,
)
from informed_recon.attacks.stationarity.problem import Found, Problem, Unknown

CANDIDATES = 4  # labels and starts, the likeliest
KNOWN = 8  # records that the error is calibrated on


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
  noise = variance(left)
  _, spread = _step(problem, unknown, few.z[best], few.y[best], left, posterior)
  noise *= _calibration(problem, unknown, target, left, posterior, noise)
  weight = np.exp((few.cost[best] - few.cost) / (2 * noise))
  other = weight / weight.sum() @ np.square(few.z - few.z[best])
  scale = np.sqrt(target @ shape.apply(target))
  few = few._replace(residual=np.sqrt(few.cost) / scale)
  return few, np.sqrt(noise * spread + other)


def _step(problem, unknown, z, label, left, posterior: Posterior):
  """From z to the mode, with ∇ℓ - G = left there, to first order; and the
  variance of each number of z, over that of the noise."""
  matrix, slope = polish.normal_equations(
    problem, unknown, z, label, left, posterior
  )
  if not np.isfinite(matrix).all():
    return np.full(len(z), np.inf), np.full(len(z), np.inf)
  try:
    inverse = linalg.cho_solve(linalg.cho_factor(matrix), np.eye(len(z)))
  except linalg.LinAlgError:  # neither gradient nor prior tells every number
    inverse = linalg.pinvh(matrix)
  return -inverse @ slope, np.diag(inverse)


def _calibration(problem, unknown, target, left, posterior, noise) -> float:
  """The squared error of known records over what `noise` says of it, where the
  same is left of their gradient as of the answer's; at least 1, for `left` is
  what a fit has left.

  The geometric mean over the `KNOWN` whose gradients are nearest in length to
  the answer's, of those looked at.
  """
  most = int(np.clip(leftover.NUMBERS // len(left), KNOWN, leftover.FACTORS))
  looked = np.random.default_rng(0).permutation(len(problem.x))[:most]
  lengths = np.linalg.norm(
    dense.gradients(problem, problem.x[looked], problem.y[looked]), axis=1
  )
  apart = np.abs(lengths - np.linalg.norm(left + target))
  ratios = []
  for i in looked[np.argsort(apart)[:KNOWN]]:
    z, label = problem.x[i].ravel(), problem.y[i]
    if problem.labels is None:
      z, label = np.append(z, label), np.int32(0)
    move, spread = _step(problem, unknown, z, label, left, posterior)
    said = noise * spread.mean()
    if 0 < said < np.inf and (move != 0).any():
      ratios.append(np.square(move).mean() / said)
  if not ratios:
    return np.inf
  return max(float(np.exp(np.mean(np.log(ratios)))), 1.0)


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
