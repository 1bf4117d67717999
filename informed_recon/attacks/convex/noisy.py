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
from scipy.stats import chi2
from threadpoolctl import threadpool_limits

from informed_recon.attacks.convex import fitting, inputs, missing
from informed_recon.attacks.convex import regression as regression
from informed_recon.types import Reconstruction, UserError

# Probability that noise leaves as much of the weights as it does, below which a
# record is no explanation.
RARE = 1e-3
# Weights of the known records that are misstated by so much that the answer is
# off by `ACCURACY` must show: those of any one record so many times as much as
# noise may, those of all by chance with no more than this probability. Tried
# with so many known records.
APART, CHANCE, DECOYS = 2.0, 1e-4, 200


class Shared(NamedTuple):
  """What all released models of one fixed set and noise share."""

  problem: inputs.Problem
  scale: np.ndarray  # (d,)
  priors: list[regression.Prior]  # a label each
  noise: tuple[np.ndarray, np.ndarray]  # mean (P,) and S^(-1/2) (P, P)
  decoys: np.ndarray  # (P, m) known records' own gradients, in that noise


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
    **keywords: those of `attacks.convex.reconstruct` that describe the
      objective, and `known_label`.

  Raises:
    UserError: as `attacks.convex.reconstruct`; not a classifier, or s <= 0.
  """
  problem = inputs.check(
    family, weights, intercept, known_x, known_y, **keywords
  )
  if problem.family.response is not None:
    raise UserError(f"family {family!r} has no labels to choose from")
  noise = inputs.number("noise", noise, positive=True)
  scale = missing.column_scale(problem.x)
  priors = regression.priors(problem, problem.x / scale)
  data = fitting.make_data(
    problem.x, problem.y, problem.l2, intercept is not None, False
  )
  theta = problem.weights
  if intercept is not None:
    data.penalty[-1] = problem.l2_intercept
    theta = np.concatenate([theta, problem.intercept[:, None]], axis=1)
  with jax.enable_x64(True):
    h = np.asarray(
      fitting.hessian(problem.family, theta, data, problem.sample_weight)
    )
  try:
    whiten = np.linalg.inv(h) / noise
  except np.linalg.LinAlgError:
    raise UserError(
      "the known records do not determine the coefficients: noise on them "
      "wants a penalty, or other columns"
    ) from None
  return Shared(
    problem,
    scale,
    priors,
    (np.zeros(len(h)), whiten),
    whiten @ _gradients(problem, theta, data.x).T,
  )


def _gradients(problem, theta, rows) -> np.ndarray:
  """(m, P) gradients of some known records."""
  some = np.linspace(0, len(rows) - 1, min(DECOYS, len(rows)), dtype=int)
  rows = rows[some]
  with jax.enable_x64(True):
    r = jax.vmap(problem.family.residual)(rows @ theta.T, problem.y[some])
  r = np.asarray(r) * problem.sample_weight[some, None]
  return np.einsum("nk,nd->nkd", r, rows).reshape(len(rows), -1)


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
    `ACCURACY`, the label is certain and what the record leaves of the weights
    may be noise.
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
  best, *others = (found[k] for k in order)
  reasons = []
  if not best.spread <= regression.ACCURACY:
    reasons.append(
      f"the noise hides the record: expected error {best.spread:.1g} of the "
      "columns' size"
    )
  # Moving the record takes that many of the equations up.
  spare = len(best.along) - np.sum(best.along**2)
  limit = chi2.isf(RARE, spare)
  if not best.left <= limit:
    reasons.append(
      "no record explains the weights: they are not at the optimum of the "
      "objective stated here, or the noise is another"
    )
  elif not _shows(shared.decoys, best, spare, limit):
    reasons.append(
      "the noise hides whether the weights are at the optimum of the objective "
      "stated here"
    )
  if others and not best.score - others[0].score >= regression.SURE:
    reasons.append("another label explains the weights nearly as well")
  candidates = tuple(
    (found[k].z * shared.scale, problem.labels[k]) for k in order
  )
  return Reconstruction(
    *candidates[0], not reasons, best.spread, candidates, "; ".join(reasons)
  )


def _shows(decoys, best: regression.Explanation, spare, limit) -> bool:
  """Whether misstated weights would leave more than `limit` of the equations.

  With one equation to spare, some that hurt leave nothing by chance.
  """
  taken = best.along.T @ decoys  # (d, m), by moving the record
  left = decoys - best.along @ taken
  moved = np.linalg.norm(taken / best.values[:, None], axis=0)
  moved /= regression.ACCURACY * len(taken) ** 0.5
  alone = np.linalg.norm(left, axis=0)
  together = np.linalg.svd(left, compute_uv=False) / np.linalg.norm(moved)
  within = np.sqrt(2 * limit / np.pi) / np.maximum(together, 1e-300)
  return bool(
    np.all(alone >= APART * np.sqrt(limit - spare) * moved)
    and np.prod(np.minimum(within, 1)) <= CHANCE
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
