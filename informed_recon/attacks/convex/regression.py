"""The record that explains a noisy missing gradient best.

Where weights are not at the optimum, or not exactly those that were fitted, the
target's own gradient t r_y(z) (z, 1)^T is the missing gradient M but for noise
of known mean and covariance S. For each label y, this is a regression with d
unknowns and K (1 + d) equations: the record minimises

    |S^(-1/2) (M + mean - t r_y(z) (z, 1))|^2 + |C_y^(-1/2) (z - m_y)|^2,

with m_y and C_y the known records' mean and covariance (Ledoit and Wolf 2004),
and the label is the one of the largest posterior probability, by Laplace's
approximation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize
from sklearn.covariance import ledoit_wolf

from informed_recon.attacks.convex import inputs
from informed_recon.attacks.convex import missing as known_records
from informed_recon.types import UserError

# A record is trusted up to this error, relative to its columns' size.
ACCURACY = 0.1
# Ratio of posterior probabilities that settles a label, in natural logarithms.
SURE = 10.0


class Prior(NamedTuple):
  """Records of one class as a Gaussian, in units of the columns' size."""

  mean: np.ndarray  # (d,)
  whiten: np.ndarray  # (d, d), C^(-1/2)
  log_prior: float  # log of the class's share, less log det C / 2


class Explanation(NamedTuple):
  """The record that explains a model best under one label."""

  z: np.ndarray  # (d,) in units of the columns' size
  spread: float  # root mean square of its posterior standard deviations
  score: float  # log posterior probability of the label, up to a constant
  misfit: float  # the least squares' half sum
  left: float  # squares that M's equations leave, in variances of the noise
  # Singular values (d,) of what moving z does to the equations and the prior,
  # and the part (P, d) of their directions that lies in the equations.
  values: np.ndarray
  along: np.ndarray


def priors(problem: inputs.Problem, z) -> list[Prior]:
  """The Gaussian of each label; that of all records where it has too few.

  Args:
    problem: with the known records' labels.
    z: (n, d) known features, in units of the columns' size.

  Raises:
    UserError: there are fewer than three records.
  """
  if len(z) < 3:
    raise UserError(f"a prior wants three known records, got {len(z)}")
  classes = []
  for code in problem.codes:
    members = z[(problem.y == code).all(1)]
    count = max(len(members), 1)
    if len(members) < 3:
      members = z
    covariance, _ = ledoit_wolf(members)
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1e-12 * values[-1])
    classes.append(
      Prior(
        members.mean(0),
        (vectors / np.sqrt(values)).T,
        np.log(count / len(z)) - 0.5 * np.sum(np.log(values)),
      )
    )
  return classes


def missing(problem: inputs.Problem, weights, intercept) -> np.ndarray:
  """Minus the gradient of everything known, (K, D)."""
  released = problem._replace(weights=weights, intercept=intercept)
  (m, m0), _ = known_records.of(released)
  if intercept is None:
    return m
  return np.column_stack([m, m0])


def own(problem: inputs.Problem, z, code, weights, intercept) -> np.ndarray:
  """A record's own gradient (K, D)."""
  with jax.enable_x64(True):
    one = _own(problem.family, jnp.asarray(z), code, weights, intercept)
    return problem.target_weight * np.asarray(one)


def explain(
  problem: inputs.Problem, scale, prior: Prior, label, model, m, noise
) -> Explanation:
  """Solves the regression for one label.

  Args:
    problem: for its family and codes.
    scale: (d,) size of the columns.
    prior: of the label.
    label: its index.
    model: weights (K, d) and intercept (K,) or None.
    m: (K, D) from `missing`.
    noise: mean (P,) and S^(-1/2) (P, P).
  """
  arguments = (
    problem.family,
    scale,
    m.ravel(),
    *noise,
    problem.codes[label],
    model,
    problem.target_weight,
    prior.mean,
    prior.whiten,
  )
  with jax.enable_x64(True):
    found = optimize.least_squares(
      lambda z: np.asarray(_residuals(z, *arguments)),
      prior.mean,
      jac=lambda z: np.asarray(_jacobian(z, *arguments)),
      max_nfev=50,  # a wrong label may wander without end
    )
  along, values, _ = np.linalg.svd(found.jac, full_matrices=False)
  return Explanation(
    found.x,
    float(np.sqrt(np.mean(values**-2.0))),
    prior.log_prior - found.cost - float(np.sum(np.log(values))),
    float(found.cost),
    float(np.sum(found.fun[: m.size] ** 2)),
    values,
    along[: m.size],
  )


def sensitivity(
  problem: inputs.Problem, scale, x, label, model, noise
) -> np.ndarray:
  """Derivative (P, d) of the whitened own gradient by the record x, in units
  of the columns' size; arguments as in `explain`."""
  nothing = np.zeros_like(noise[0])
  flat = np.zeros((len(x), len(x)))
  with jax.enable_x64(True):
    rows = _jacobian(
      *(x / scale, problem.family, scale, nothing, *noise),
      *(problem.codes[label], model, problem.target_weight),
      *(np.zeros(len(x)), flat),
    )
  return np.asarray(rows)[: len(nothing)]


def _own(family, z, code, weights, intercept):
  """A record's gradient at weight 1, (K, D)."""
  bias = 0.0 if intercept is None else intercept
  row = z if intercept is None else jnp.append(z, 1.0)
  return jnp.outer(family.residual(weights @ z + bias, code), row)


def _off(
  z, family, scale, m, mean, whiten, code, model, weight, prior_mean, prior
):
  """What the least squares are of, (P + d,)."""
  gap = m + mean - weight * _own(family, z * scale, code, *model).ravel()
  return jnp.concatenate([whiten @ gap, prior @ (z - prior_mean)])


_residuals = jax.jit(_off, static_argnums=1)
_jacobian = jax.jit(jax.jacfwd(_off), static_argnums=1)
