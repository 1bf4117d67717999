"""What the Levenberg-Marquardt steps of several attacks have in common.

A step minimises ‖r + J v‖² + λ ‖v‖² over v, where r = residuals(x) and J is
their derivative, and takes x + v where that lowers ‖r‖² (Levenberg 1944,
Marquardt 1963).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

START_DAMPING = 0.1  # λ of the first step, over the curvature


class Linearised(NamedTuple):
  """Residuals and their derivative at x."""

  residuals: Any  # r, an array or a pytree of them
  forward: Callable  # v, shaped as x -> J v, shaped as r
  backward: Callable  # what is shaped as r -> Jᵀ r, shaped as x
  gradient: jax.Array  # Jᵀ r
  curvature: jax.Array  # () ‖J g‖² / ‖g‖² along the gradient g, the scale of λ


def linearise(residuals: Callable, x: jax.Array, square: Callable):
  """`Linearised` of `residuals`, a differentiable function of x, at x.

  `square` gives the sum of squares of what is shaped as r or as x.
  """
  here, forward = jax.linearize(residuals, x)
  transposed = jax.linear_transpose(forward, x)

  def backward(r):
    return transposed(r)[0]

  gradient = backward(here)
  curvature = square(forward(gradient)) / square(gradient)
  return Linearised(here, forward, backward, gradient, curvature)


def factor(better: jax.Array, gain: jax.Array) -> jax.Array:
  """What λ is multiplied by after a step, ().

  Args:
    better: () bool, whether the step lowered ‖r‖².
    gain: () by how much it did, over what the linear model promised.
  """
  return jnp.select([~better, gain < 0.25, gain > 0.75], [8.0, 3.0, 0.1], 1)
