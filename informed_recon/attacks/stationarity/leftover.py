"""The shape of what training that stopped short leaves of the gradient.

Training ends not at a stationary point but near one, and what is left of the
gradient, r = G - ∇ℓ(θ; x, y), is not white. Measured on networks trained with
weight decay, nine tenths of ‖r‖² lie where the objective is hardly curved:
along an eigenvector of the Hessian of curvature h training leaves
h exp(-h · Σ rates) of where it began. Where weight decay alone bends the
objective h is l2; less are the directions along which the network's own
curvature is negative. The rest of r are gradients of records, weighted by
chance as mini-batches are. So r has the covariance

  a (I + ρ F Fᵀ) outside the span of S, anything within,

with S the slow directions found in what a plain least-squares answer leaves,
and F the known records' gradients; ρ is estimated by maximum likelihood, a from
what is left then. The record is what minimises rᵀ C⁻¹ r (generalised least
squares, Aitken 1936).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.stationarity import dense
from informed_recon.attacks.stationarity.problem import Problem
from informed_recon.training import microbatch

STEPS = 80  # products with the Hessian
FLAT = 0.8  # of l2; less curvature than that is slow
FACTORS = 1000  # columns of F, at most
NUMBERS = 2e7  # of F, at most
RANK = 1e-10  # relative; less is rounding
RATIOS = 10.0 ** np.arange(-8, 12, 0.25)  # ρ, over the largest eigenvalue


class Shape(NamedTuple):
  """C⁻¹ = I - U diag(w) Uᵀ, up to a factor."""

  basis: np.ndarray  # U (P, m), orthonormal columns
  weight: np.ndarray  # w (m,) in [0, 1]

  def apply(self, e: np.ndarray) -> np.ndarray:
    """C⁻¹ e of e (P, ...)."""
    return e - (self.basis * self.weight) @ (self.basis.T @ e)


@functools.partial(jax.jit, static_argnums=0)
def _curvature(loss, params, x, y, l2, direction):
  """The Hessian of the known records' objective times a direction (P,)."""
  _, unravel = ravel_pytree(params)

  def gradient(params):
    def total(params, x, y, weight):
      return jnp.sum(weight * jax.vmap(loss, (None, 0, 0))(params, x, y))

    weight = jnp.full(len(x), 1 / len(x))
    return ravel_pytree(microbatch.gradient(total, params, x, y, weight))[0]

  product = jax.jvp(gradient, (params,), (unravel(direction),))[1]
  return product + l2 * direction


def slow(problem: Problem, left: np.ndarray) -> Shape:
  """Leaves out the directions of little curvature that are seen in what is left
  (P,): Ritz vectors of the Krylov space of the Hessian that starts there
  (Lanczos 1950, with full orthogonalisation)."""
  basis = np.zeros((len(left), min(STEPS, len(left) // 2)))
  images, given = basis.copy(), (problem.params, problem.x, problem.y)
  vector, ends = left, RANK * np.linalg.norm(left)
  for i in range(basis.shape[1]):
    for _ in range(2):
      vector = vector - basis @ (basis.T @ vector)
    size = np.linalg.norm(vector)
    if not size > ends:
      basis, images = basis[:, :i], images[:, :i]
      break
    basis[:, i] = vector / size
    vector = _curvature(problem.loss, *given, problem.l2, basis[:, i])
    images[:, i] = vector = np.asarray(vector)
  values, vectors = np.linalg.eigh(basis.T @ images)
  flat = values < FLAT * problem.l2
  return Shape(basis @ vectors[:, flat], np.ones(flat.sum()))


def records(problem: Problem, without: Shape) -> tuple[np.ndarray, np.ndarray]:
  """Eigenvectors (P, m) and eigenvalues (m,) of F Fᵀ outside the span of what
  is left out. Of more records than `FACTORS` sums with random signs serve."""
  n, size = len(problem.x), len(without.basis)
  most = int(max(min(FACTORS, NUMBERS // size, n), 1))
  signs = np.random.default_rng(0).choice([-1.0, 1.0], n)
  factors = np.zeros((size, most))
  for start in range(0, n, most):
    part = slice(start, start + most)
    rows = np.asarray(
      dense.gradients(problem, problem.x[part], problem.y[part])
    )
    factors[:, : len(rows)] += (rows * signs[part, None]).T
  factors = without.apply(factors)
  values, vectors = np.linalg.eigh(factors.T @ factors)
  kept = values > max(RANK * values[-1], 0.0)
  return factors @ (vectors[:, kept] / np.sqrt(values[kept])), values[kept]


def fitted(without: Shape, parts, left: np.ndarray) -> Shape:
  """The shape with the ρ of largest likelihood, given what is left (P,)."""
  basis, values = parts
  if not len(values):
    return without
  left = without.apply(left)
  squares, total = np.square(basis.T @ left), left @ left
  free = len(left) - len(without.weight)

  def likelihood(ratio):
    share = ratio * values / (1 + ratio * values)
    scale = (total - share @ squares) / free
    return -free * np.log(scale) - np.log1p(ratio * values).sum()

  ratio = max(RATIOS / values[-1], key=likelihood)
  return Shape(
    np.concatenate([without.basis, basis], 1),
    np.concatenate([without.weight, ratio * values / (1 + ratio * values)]),
  )
