"""The informed case: all records of the batch are known but one."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.stationarity import missing, search
from informed_recon.attacks.stationarity import problem as problems
from informed_recon.types import Reconstruction, UserError


def reconstruct_one(
  loss,
  params,
  gradient,
  known_x,
  known_y,
  *,
  l2=0.0,
  labels=None,
  bounds=(0.0, 1.0),
) -> Reconstruction:
  """The one record of a batch that the adversary does not know.

  With B - 1 records known, B times the gradient less what they add to it is the
  missing record's own. A dense layer that sees the record makes a matrix of
  rank one of it, which is solved in closed form; `stationarity` does the rest.

  Args:
    loss: `loss(params, x, y)`, the loss () of one record.
    params: any pytree of floating-point arrays.
    gradient: of the mean loss over the batch plus (l2 / 2) ‖params‖², a pytree
      like params.
    known_x: (B - 1, *shape) features of the known records.
    known_y: (B - 1, ...) their labels or real responses.
    l2: weight of the penalty.
    labels: as in `stationarity.reconstruct`.
    bounds: the least and the largest value of a feature, or None.

  Returns:
    A `Reconstruction`, as `stationarity.reconstruct` gives it.

  Raises:
    UserError: the arguments do not fit each other; one line says what.
  """
  problem = problems.check(
    loss, params, known_x, known_y, l2=l2, labels=labels, bounds=bounds
  )
  if jax.tree.map(jnp.shape, gradient) != jax.tree.map(jnp.shape, params):
    raise UserError("gradient must be a pytree like params")
  with jax.enable_x64(True):
    whole = jax.tree.map(lambda g: jnp.asarray(g, jnp.float64), gradient)
    whole = ravel_pytree(whole)[0] - l2 * ravel_pytree(problem.params)[0]
    known = missing.weighted_gradient(
      problem.loss,
      problem.params,
      problem.x,
      problem.y,
      jnp.ones(len(problem.x)),
    )
    return search.solve(problem, (len(problem.x) + 1) * whole - known)
