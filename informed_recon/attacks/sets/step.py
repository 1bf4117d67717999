"""One Levenberg-Marquardt step over a set of records.

What is seen of a release is b, and `explain` says what b would be for k unknown
records x (k, d) with labels y. A step minimises ‖r + J v‖² + λ ‖v‖² over v,
r = explain(x, y) - b and J its derivative, by conjugate gradients (CGLS, Björck
1996, §7.4), and takes x + v where that lowers ‖r‖² (see `marquardt`). Two
things keep the conjugate gradients short:

* Records that are alike change what is seen in like ways. Column c of all
  records is J_c, (P, k), and the mean of J_cᵀ J_c over columns, (k, k), undoes
  that; it is measured by k products with columns of random sign.
* A few directions, those in which a record changes the training of the others,
  matter far more than the rest. The directions of earlier steps and what JᵀJ
  made of them are kept as a limited-memory BFGS inverse (Morales and Nocedal
  2000), so that each is found once and not in every step.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from informed_recon.attacks import marquardt

LEAST_DAMPING, MOST_DAMPING = 1e-10, 1e6
CG_STEPS = 80  # at most
CG_TOLERANCE = 0.05  # share of the gradient at which they end
MEMORY = 40  # directions that are kept

# (x (k, d), y (k, ...)) -> what is seen (P,)
Explain = Callable[[jax.Array, jax.Array], jax.Array]


class Memory(NamedTuple):
  """A ring of directions and their images under JᵀJ; 0: none yet."""

  moves: Any  # (MEMORY, k, d)
  images: Any  # (MEMORY, k, d)
  weight: Any  # (MEMORY,) 1 / <move, image>
  oldest: Any  # () index, the next to be replaced


class State(NamedTuple):
  """A set of records on its way."""

  x: Any  # (k, d)
  cost: Any  # () ‖r‖²
  damping: Any  # () over the curvature along the gradient
  memory: Memory
  products: Any  # () with J or its transpose, in all


def begin(explain: Explain, seen, x, y) -> State:
  """The state at a first guess x (k, d) with labels y, of what is seen (P,)."""
  none = jnp.zeros((MEMORY, *x.shape), x.dtype)
  return State(
    x=x,
    cost=_square(explain(x, y) - seen),
    damping=jnp.asarray(marquardt.START_DAMPING, x.dtype),
    memory=Memory(none, none, none[:, 0, 0], jnp.int32(0)),
    products=jnp.int32(0),
  )


def step(explain: Explain, seen, y, state: State) -> State:
  """One step; `explain` is differentiable in x."""

  def misfit(x):
    return explain(x, y) - seen

  linear = marquardt.linearise(misfit, state.x, _square)
  damping = state.damping * linear.curvature
  inverse = jnp.linalg.inv(
    gram(linear.forward, state.x) + damping * jnp.eye(len(state.x))
  )
  near = _bfgs(state.memory, lambda g: inverse @ g)
  move, left, memory, count = _damped_least_squares(
    linear, damping, near, state.memory
  )
  x = state.x + move
  cost = _square(misfit(x))
  better = cost < state.cost
  gain = (state.cost - cost) / (state.cost - _square(left))
  factor = marquardt.factor(better, gain)
  return State(
    x=jnp.where(better, x, state.x),
    cost=jnp.where(better, cost, state.cost),
    damping=jnp.clip(state.damping * factor, LEAST_DAMPING, MOST_DAMPING),
    memory=memory,
    products=state.products + 2 * count + len(x) + 4,
  )


def gram(forward, x) -> jax.Array:
  """The mean of J_cᵀ J_c over columns c of k records, (k, k)."""
  k, width = x.shape
  signs = jax.random.rademacher(jax.random.key(0), (width,), x.dtype)
  images = jax.lax.map(forward, jnp.eye(k, dtype=x.dtype)[:, :, None] * signs)
  return images @ images.T / width


def _bfgs(memory: Memory, near):
  """The limited-memory BFGS inverse (Nocedal 1980), from `near` on."""
  order = (memory.oldest + jnp.arange(MEMORY)) % MEMORY

  def apply(g):
    def down(g, i):
      share = memory.weight[i] * jnp.vdot(memory.moves[i], g)
      return g - share * memory.images[i], share

    def up(v, pair):
      i, share = pair
      other = memory.weight[i] * jnp.vdot(memory.images[i], v)
      return v + (share - other) * memory.moves[i], None

    g, share = jax.lax.scan(down, g, order, reverse=True)
    return jax.lax.scan(up, near(g), (order, share))[0]

  return apply


def _remember(memory: Memory, move, image) -> Memory:
  i, overlap = memory.oldest, jnp.vdot(move, image)
  return Memory(
    memory.moves.at[i].set(move),
    memory.images.at[i].set(image),
    memory.weight.at[i].set(jnp.where(overlap > 0, 1 / overlap, 0)),
    (i + 1) % MEMORY,
  )


def _damped_least_squares(linear, damping, near, memory):
  """Minimises ‖r + J v‖² + damping ‖v‖²; returns v, r + J v, what to remember
  and the number of steps."""
  residuals, forward, backward, gradient, _ = linear
  first = near(gradient)
  enough = CG_TOLERANCE**2 * jnp.vdot(gradient, first)

  def going(carry):
    *_, slope, count = carry
    return (slope > enough) & (count < CG_STEPS)

  def advance(carry):
    v, left, downhill, direction, memory, slope, count = carry
    image = forward(direction)
    length = slope / (_square(image) + damping * _square(direction))
    v, left = v + length * direction, left + length * image
    new = -backward(left) - damping * v
    memory = _remember(memory, direction, (downhill - new) / length)
    steep = near(new)
    next_slope = jnp.vdot(new, steep)
    direction = steep + next_slope / slope * direction
    return v, left, new, direction, memory, next_slope, count + 1

  start = (jnp.zeros_like(gradient), residuals, -gradient, -first, memory)
  carry = (*start, jnp.vdot(gradient, first), jnp.int32(0))
  v, left, _, _, memory, _, count = jax.lax.while_loop(going, advance, carry)
  return v, left, memory, count


def _square(values) -> jax.Array:
  return jnp.vdot(values, values)
