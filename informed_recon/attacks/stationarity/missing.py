"""The gradient that the missing record must have had.

Training ended where the gradient of

  L(θ) = [Σ_known ℓ(θ; xᵢ, yᵢ) + ℓ(θ; x, y)] / (n + 1) + (l2/2) ‖θ‖²

vanishes, so that the missing record's own is

  ∇ℓ(θ; x, y) = G = -Σ_known ∇ℓ(θ; xᵢ, yᵢ) - (n + 1) l2 θ.
"""

import functools

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from informed_recon.training import microbatch


@functools.partial(jax.jit, static_argnums=0)
def weighted_gradient(loss, params, x, y, weight):
  """Σ wᵢ ∇ℓ(θ; xᵢ, yᵢ) as a vector (P,)."""

  def total(params, x, y, weight):
    losses = jax.vmap(loss, in_axes=(None, 0, 0))(params, x, y)
    return jnp.sum(weight * losses)

  return ravel_pytree(microbatch.gradient(total, params, x, y, weight))[0]


def gradient(problem) -> jax.Array:
  """G (P,), of one pass over the known records."""
  n = len(problem.x)
  known = weighted_gradient(
    problem.loss, problem.params, problem.x, problem.y, jnp.ones(n)
  )
  theta = ravel_pytree(problem.params)[0]
  return -known - (n + 1) * problem.l2 * theta
