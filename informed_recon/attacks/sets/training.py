"""What k unknown records would show: the two ways to `explain` a release."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.simulation.sampled import by_sample
from informed_recon.attacks.stationarity import missing
from informed_recon.types import Records, UserError


def simulation(train: Callable, known: Records | None):
  """The end of training with the unknown records.

  Args:
    train: (x (n, d), y (n,)) -> parameters, a pytree; the whole training
      algorithm, its start included, differentiable in x.
    known: n - k records, or None.

  Returns:
    (explain, base), as `reconstruct` takes them. Where no record is known base
    is None; give `reconstruct` the parameters that training starts from.
  """

  def flat(x, y):
    return ravel_pytree(train(x, y))[0]

  if known is None:
    return flat, None
  known = Records(*map(jnp.asarray, known))

  def explain(x, y):
    return flat(
      jnp.concatenate([x, known.x]), jnp.concatenate([y, known.y], dtype=int)
    )

  return explain, jax.jit(flat)(*known)


def sampled(loss: Callable, known: Records | None, size: int):
  """A step's gradient, whose derivative is by a sample of the known records.

  A product with J then costs what training on `size` and the k unknown records
  does. The value stays that of all, so that what is found explains what is seen
  as exactly; a sample too small leads the search astray, which its residual
  tells.

  Args:
    loss: `loss(params, x, y)`, the losses (m,) of records x (m, d).
    known: n records, or None.
    size: of the sample, which goes round the known records from step to step.

  Returns:
    (params, x (k, d), y (k,), step) -> the mean gradient of all k + n records,
    for a `train` that takes unknown and known records apart.

  Raises:
    UserError: a size that is not between 1 and n.
  """
  n = 0 if known is None else len(known.y)
  if n and not 1 <= size <= n:
    raise UserError(f"size must lie between 1 and {n} known records: {size}")

  @jax.grad
  def total(params, x, y, weight):
    return jnp.sum(weight * loss(params, x, y))

  def gradient(params, x, y, step):
    whole = total(params, x, y, jnp.ones(len(y)))
    if known is not None:
      records = Records(*map(jnp.asarray, known))
      of_known = by_sample(total, params, records, size, step)
      whole = jax.tree.map(jnp.add, whole, of_known)
    return jax.tree.map(lambda g: g / (len(y) + n), whole)

  return gradient


def stationarity(loss: Callable, params, known: Records, k: int, l2: float):
  """The gradients of the unknown records, where training ended at a stationary
  point of the mean loss over all n + k records plus (l2 / 2) ‖params‖².

  Args:
    loss: `loss(params, x, y)`, the loss () of one record.
    params: as released.
    known: n records.
    k: unknown records.
    l2: weight of the penalty, mean form.

  Returns:
    (explain, seen), as `reconstruct` takes them; its `base` is 0.
  """
  theta, n = ravel_pytree(params)[0], len(known.y)
  of_known = missing.weighted_gradient(
    loss, params, jnp.asarray(known.x), jnp.asarray(known.y), jnp.ones(n)
  )

  def explain(x, y):
    def total(params):
      return jnp.sum(jax.vmap(loss, (None, 0, 0))(params, x, y))

    return ravel_pytree(jax.grad(total)(params))[0]

  return explain, -of_known - (n + k) * l2 * theta
