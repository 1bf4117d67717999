"""Trains on to a stationary point, in float64.

L-BFGS finds the basin; Newton steps by conjugate gradients within a trust
region (Nocedal and Wright 2006, §4.1, §7.2) then take the gradient down to what
float64 allows. Where they creep along a flat valley, L-BFGS goes on to a
smaller gradient and Newton steps follow again. Both are SciPy's.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import optimize

from informed_recon.training import microbatch

BASINS = 1e-6, 1e-8, 1e-10  # largest entry at which Newton steps take over
MOST_STEPS, MOST_NEWTON_STEPS = 10_000, 30


@functools.partial(jax.jit, static_argnums=0)
def _value_and_gradient(loss, params, x, y, l2):
  def total(params, x, y, weight):
    return jnp.sum(weight * jax.vmap(loss, (None, 0, 0))(params, x, y))

  n = len(x)
  weight = jnp.full(n, 1 / n)
  gradient = microbatch.gradient(total, params, x, y, weight)
  theta, gradient = ravel_pytree(params)[0], ravel_pytree(gradient)[0]
  value = total(params, x, y, weight) + l2 / 2 * theta @ theta
  return value, gradient + l2 * theta


@functools.partial(jax.jit, static_argnums=0)
def _curvature(loss, params, x, y, l2, direction):
  """Hessian of the objective times a direction."""

  def gradient(params):
    def total(params, x, y, weight):
      return jnp.sum(weight * jax.vmap(loss, (None, 0, 0))(params, x, y))

    weight = jnp.full(len(x), 1 / len(x))
    return microbatch.gradient(total, params, x, y, weight)

  return ravel_pytree(jax.jvp(gradient, (params,), (direction,))[1])[0] + (
    l2 * ravel_pytree(direction)[0]
  )


def minimise(loss, params, x, y, *, l2=0.0, tolerance=1e-9):
  """Parameters near `params` where the objective's gradient vanishes.

  The objective is the mean of `loss(params, x, y)` over the records (n, ...)
  plus (l2/2)‖params‖².

  Args:
    loss: of one record, () and twice differentiable in params.
    params: where to start, any pytree.
    x: (n, *shape) features.
    y: (n, ...) labels.
    l2: weight of the penalty.
    tolerance: norm of the gradient at which to end.

  Returns:
    (params in float64, norm of the gradient there); it may exceed `tolerance`
    where the loss has kinks.
  """
  with jax.enable_x64(True):
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), params)
    x, y = jnp.asarray(np.asarray(x, np.float64)), jnp.asarray(y)
    start, unravel = ravel_pytree(params)

    def fun(theta):
      value, gradient = _value_and_gradient(loss, unravel(theta), x, y, l2)
      return float(value), np.asarray(gradient)

    def hessp(theta, v):
      return np.asarray(
        _curvature(loss, unravel(theta), x, y, l2, unravel(jnp.asarray(v)))
      )

    theta = np.asarray(start)
    for basin in BASINS:
      near = optimize.minimize(
        fun,
        theta,
        jac=True,
        method="L-BFGS-B",
        options=dict(maxiter=MOST_STEPS, maxcor=30, gtol=basin, ftol=0),
      ).x
      end = optimize.minimize(
        fun,
        near,
        jac=True,
        hessp=hessp,
        method="trust-ncg",
        options=dict(gtol=tolerance, maxiter=MOST_NEWTON_STEPS),
      )
      theta, short = end.x, float(np.linalg.norm(end.jac))
      if short <= tolerance:
        break
    return unravel(jnp.asarray(theta)), short
