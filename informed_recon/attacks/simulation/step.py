"""What one Levenberg-Marquardt step of the simulation attack does.

The residuals are r(x) = A(D₋ ∪ {(x, y)}) - θ, with those of a penalty behind
them. A step minimises ‖r + J v‖² + λ ‖v‖² over v by conjugate gradients, takes
x + v, projected onto the bounds, where that lowers ‖r‖², and sets λ by how much
of what the linear model promised came true (Levenberg 1944, Marquardt 1963).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from informed_recon import compiler
from informed_recon.attacks import marquardt
from informed_recon.types import Records

# (fixed set, target, id of the model's random draws) -> parameters (P,)
Simulate = Callable[[Records, Records, jax.Array], jax.Array]

LEAST_DAMPING, MOST_DAMPING = 1e-9, 1e6
SCREENING = 0.1  # share of the gradient at which a candidate's first step ends
SLOW = 0.9  # a step that leaves more than this share of the residual stalls


@dataclasses.dataclass(frozen=True)
class Search:
  """How long and how finely to search for a record."""

  steps: int = 60  # Levenberg-Marquardt steps a release, over all candidates
  cg_steps: int = 40  # conjugate-gradient steps in one of them, at most
  cg_tolerance: float = 0.03  # share of the gradient at which they may end
  optimism: float = 0.1  # share of a misfit that a first step may leave
  explained: float = 0.01  # ρ at and below which the record counts as found
  converged: float = 1e-4  # ρ at which there is nothing left to gain
  bounds: tuple[float, float] | None = (0.0, 1.0)  # of features, if any


class State(NamedTuple):
  """A candidate on its way; arrays of one candidate or of many."""

  x: Any  # (*shape)
  cost: Any  # () what is minimised
  residual: Any  # () ρ
  damping: Any  # () over the curvature along the gradient
  steps: Any  # () taken
  stalls: Any  # () in a row
  passes: Any  # () runs through training, forward or backward; fractions add up


class Release(NamedTuple):
  """What is given of one released model (arrays of many, with a leading axis).

  `base` is what training without the target ends at, from the same draws.
  """

  theta: Any  # (P,)
  base: Any  # (P,)
  model_id: Any  # () of its random draws, as far as they are known


def make(
  simulate: Simulate,
  search: Search,
  prior: Callable | None,
  jacobian_cost: float,
):
  """Jitted `begin` (one release, many candidates) and `step` (many releases,
  a candidate each).

  Args:
    simulate: the training algorithm, differentiable in `target.x`.
    search: settings.
    prior: x -> residuals of a penalty.
    jacobian_cost: of a product with the Jacobian, in runs through training.

  Returns:
    `(fixed, release, x, labels) -> State`, of candidates with a leading axis,
    and `(fixed, releases, labels, states) -> State`, all but `fixed` with one.
  """

  def misfit(fixed, release, label, x):
    end = simulate(fixed, Records(x, label), release.model_id)
    return end - release.theta, () if prior is None else prior(x)

  def share(error, release):
    gap = jnp.linalg.norm(release.base - release.theta)
    return jnp.linalg.norm(error) / gap

  def coarse(state):
    return jnp.where(state.steps == 0, SCREENING, search.cg_tolerance)

  def begin(fixed, release, x, label):
    residuals = misfit(fixed, release, label, x)
    return State(
      x=x,
      cost=_square(residuals),
      residual=share(residuals[0], release),
      damping=jnp.float32(marquardt.START_DAMPING),
      steps=jnp.int32(0),
      stalls=jnp.int32(0),
      passes=jnp.float32(1),
    )

  def step(fixed, release, label, state):
    def here(x):
      return misfit(fixed, release, label, x)

    linear = marquardt.linearise(here, state.x, _square)
    move, left, count = _damped_least_squares(
      linear,
      state.damping * linear.curvature,
      search.cg_steps,
      coarse(state),
    )
    x = state.x + move
    if search.bounds is not None:
      x = jnp.clip(x, *search.bounds)
    new = here(x)
    cost, residual = _square(new), share(new[0], release)
    better, steep = cost < state.cost, jnp.isfinite(linear.gradient).all()
    gain = (state.cost - cost) / (state.cost - _square(left))
    factor = marquardt.factor(better, gain)
    stalled = ~better | (residual > SLOW * state.residual)
    return State(
      x=jnp.where(better, x, state.x),
      # NaN: there is no way from here.
      cost=jnp.where(steep, jnp.where(better, cost, state.cost), jnp.nan),
      residual=jnp.where(better, residual, state.residual),
      damping=jnp.clip(state.damping * factor, LEAST_DAMPING, MOST_DAMPING),
      steps=state.steps + 1,
      stalls=jnp.where(stalled, state.stalls + 1, 0),
      # The linearisation and the new point; the gradient and its image.
      passes=state.passes + 2 + jacobian_cost * (2 * count + 2),
    )

  one_release = jax.vmap(begin, in_axes=(None, None, 0, 0))
  many = jax.vmap(step, in_axes=(None, 0, 0, 0))
  jit = partial(jax.jit, compiler_options=compiler.options())
  return jit(one_release), jit(many)


def _damped_least_squares(linear, damping, steps, tolerance):
  """Minimises ‖r + J v‖² + damping ‖v‖² by conjugate gradients (CGLS, Björck
  1996, §7.4); returns v, r + J v and the number of steps."""
  residuals, forward, backward, gradient, _ = linear

  def going(carry):
    *_, slope, count = carry
    return (slope > tolerance**2 * _square(gradient)) & (count < steps)

  def advance(carry):
    v, left, direction, slope, count = carry
    image = forward(direction)
    length = slope / (_square(image) + damping * _square(direction))
    v = v + length * direction
    left = optax.tree.add_scale(left, length, image)
    downhill = -backward(left) - damping * v
    new = _square(downhill)
    return v, left, downhill + new / slope * direction, new, count + 1

  start = (jnp.zeros_like(gradient), residuals, -gradient)
  carry = (*start, _square(gradient), jnp.int32(0))
  v, left, *_, count = jax.lax.while_loop(going, advance, carry)
  return v, left, count


def _square(values) -> jax.Array:
  return optax.tree.norm(values, squared=True)
