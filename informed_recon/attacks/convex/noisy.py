"""Reconstruction from coefficients that were released with noise.

Gaussian noise of standard deviation s on every coefficient moves the gradient
of everything known by H times itself, H the Hessian there, so that the missing
gradient is the target's own but for noise of covariance s^2 H^2. To the closed
form that is the end where H is large; the regression of `convex.regression`
knows which directions to distrust.
"""

from typing import NamedTuple

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from informed_recon.attacks.convex import fitting as training
from informed_recon.attacks.convex import inputs, missing
from informed_recon.attacks.convex import regression as regression
from informed_recon.types import Reconstruction, UserError


class Shared(NamedTuple):
  """What all released models of one fixed set and noise share."""

  problem: inputs.Problem
  scale: np.ndarray  # (d,)
  priors: list[regression.Prior]  # a label each
  noise: tuple[np.ndarray, np.ndarray]  # mean (P,) and S^(-1/2) (P, P)


def prepare(
  family, weights, intercept, known_x, known_y, noise: float, **keywords
) -> Shared:
  """Hessian and prior, computed once, at one of the released models.

  Args:
    family: a classifier's family, as in `attacks.convex.reconstruct`.
    weights, intercept: (K, d) and (K,) or None, of one released model.
    known_x: (n, d) features of the fixed set.
    known_y: (n,) its labels.
    noise: s > 0, standard deviation of the noise on each coefficient.
    **keywords: those of `attacks.convex.reconstruct`.

  Raises:
    UserError: as `attacks.convex.reconstruct`; not a classifier, or s <= 0.
  """
  problem = inputs.check(
    family, weights, intercept, known_x, known_y, **keywords
  )
  if problem.family.response is not None:
    raise UserError(f"family {family!r} has no labels to choose from")
  if not noise > 0:
    raise UserError(f"noise must be positive, got {noise}")
  scale = missing.column_scale(problem.x)
  same = (problem.y[:, None] == problem.codes).all(2)  # (n, labels)
  y = np.array(problem.labels)[same.argmax(1)]
  data = training.make_data(
    problem.x, problem.y, problem.l2, intercept is not None, False
  )
  theta = problem.weights
  if intercept is not None:
    data.penalty[-1] = problem.l2_intercept
    theta = np.concatenate([theta, problem.intercept[:, None]], axis=1)
  with jax.enable_x64(True):
    h = np.asarray(training.hessian(problem.family, theta, data))
  return Shared(
    problem,
    scale,
    regression.priors(problem, problem.x / scale, y),
    (np.zeros(len(h)), np.linalg.inv(h) / noise),
  )


# Its matrices are small: BLAS threads that wait for a busy core take ten times
# as long as one alone.
@threadpool_limits.wrap(limits=1, user_api="blas")
def reconstruct(shared: Shared, weights, intercept) -> Reconstruction:
  """The most probable record, given noisy coefficients.

  Args:
    shared: from `prepare`.
    weights, intercept: (K, d) and (K,) or None, as released.

  Returns:
    A `Reconstruction`. `residual` is the error to be expected by the posterior,
    relative to the columns' size; `identifiable` is set where that is at most
    `ACCURACY` and the label is certain.
  """
  problem, model = shared.problem, (weights, intercept)
  m = regression.missing(problem, *model)
  found = [
    regression.explain(
      problem, shared.scale, prior, label, model, m, shared.noise
    )
    for label, prior in enumerate(shared.priors)
  ]
  order = np.argsort([-f.score for f in found])
  best, second = (found[k] for k in order[:2])
  reasons = []
  if not best.spread <= regression.ACCURACY:
    reasons.append(
      f"the noise hides the record: expected error {best.spread:.1g} of the "
      "columns' size"
    )
  if not best.score - second.score >= regression.SURE:
    reasons.append("another label explains the weights nearly as well")
  candidates = tuple(
    (found[k].z * shared.scale, problem.labels[k]) for k in order
  )
  return Reconstruction(
    *candidates[0], not reasons, best.spread, candidates, "; ".join(reasons)
  )


def fisher_mse(shared: Shared, x, label, weights, intercept) -> float:
  """Cramer-Rao floor on the mean squared error of unbiased attacks.

  s^2 tr((J^T J)^(-1)) / d, with J = H^(-1) d(own gradient)/dz the sensitivity
  of the coefficients to the record, whose label is given. An attack with a
  prior is biased and may do better where the noise is large.

  Args:
    shared: from `prepare`.
    x, label: the target.
    weights, intercept: the model without noise.
  """
  index = shared.problem.labels.index(label)
  jacobian = regression.sensitivity(
    shared.problem, shared.scale, x, index, (weights, intercept), shared.noise
  )
  covariance = np.linalg.inv(jacobian.T @ jacobian)
  return float(np.mean(np.diag(covariance) * shared.scale**2))
