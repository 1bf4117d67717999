"""One step of the search for a set of records.

What is seen of a release is b, and `explain` says what b would be for k unknown
records x (k, d) with labels y. A step is of the iteratively regularised
Gauss-Newton method (Bakushinskii 1992): with r = explain(x, y) - b and J its
derivative it minimises ‖r + J v‖² + μ ‖x + v - x₀‖² + λ ‖v‖² over v, by
conjugate gradients (Björck 1996, §7.4). The pull μ to where the search began is
halved as it goes: what is not told yet stays where it is likely, in place of
wherever a linear model sends it. The damping λ is Levenberg's and Marquardt's.

What the linear model missed, r(x + v) - r - J v, is put through the same
equations once more: the second-order correction of Fletcher (1982), which lets
a step follow a bent valley (cf. the geodesic acceleration of Transtrum and
Sethna 2012). Two things keep the conjugate gradients short:

* Records that are alike change what is seen in like ways. Column c of all
  records is J_c, (P, k), and the mean of J_cᵀ J_c over columns, (k, k), undoes
  that; it is measured by k products with columns of random sign.
* A few directions, those in which a record changes the training of the others,
  matter far more than the rest. The directions of earlier steps and what JᵀJ
  made of them are kept as a limited-memory BFGS inverse (Morales and Nocedal
  2000), so that each is found once and not in every step.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from informed_recon.attacks import marquardt

START_PULL = 0.1  # μ of the first step, over the curvature
LEAST_DAMPING, MOST_DAMPING = 1e-16, 1e6
CG_STEPS, CG_TOLERANCE = 80, 0.05  # at most; share of the gradient to end at
BEND_STEPS, BEND_TOLERANCE = 20, 0.3  # of the second-order correction
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
  start: Any  # (k, d) x₀, where the search began
  cost: Any  # () ‖r‖²
  scale: Any  # () curvature along the first gradient; 0: not measured yet
  pull: Any  # () μ over scale
  damping: Any  # () λ over scale
  memory: Memory
  products: Any  # () with J or its transpose, in all


def begin(explain: Explain, seen, x, y) -> State:
  """The state at a first guess x (k, d) with labels y, of what is seen (P,)."""
  none = jnp.zeros((MEMORY, *x.shape), x.dtype)
  zero = jnp.zeros((), x.dtype)
  return State(
    x=x,
    start=x,
    cost=_square(explain(x, y) - seen),
    scale=zero,
    pull=zero + START_PULL,
    damping=zero,
    memory=Memory(none, none, none[:, 0, 0], jnp.int32(0)),
    products=jnp.int32(0),
  )


def step(explain: Explain, seen, y, state: State) -> State:
  """One step; `explain` is differentiable in x."""

  def misfit(x):
    return explain(x, y) - seen

  def pulled(cost, x):
    return cost + pull * _square(x - state.start)

  linear = marquardt.linearise(misfit, state.x, _square)
  scale = jnp.where(state.scale > 0, state.scale, linear.curvature)
  pull, damping = state.pull * scale, state.damping * scale
  hold = pull + damping
  inverse = jnp.linalg.inv(
    gram(linear.forward, state.x) + hold * jnp.eye(len(state.x))
  )
  solve = functools.partial(_solve, linear, hold, lambda g: inverse @ g)
  slope = linear.gradient + pull * (state.x - state.start)
  move, image, memory, count = solve(
    slope, state.memory, CG_STEPS, CG_TOLERANCE
  )
  straight = state.x + move
  expected, found = linear.residuals + image, misfit(straight)
  bend, _, memory, more = solve(
    linear.backward(found - expected), memory, BEND_STEPS, BEND_TOLERANCE
  )
  bent = straight + bend
  costs = _square(found), _square(misfit(bent))
  now = pulled(state.cost, state.x)
  promise = now - pulled(_square(expected), straight)
  follow = pulled(costs[1], bent) < pulled(costs[0], straight)
  x, cost = jnp.where(follow, bent, straight), jnp.where(follow, *costs[::-1])
  gain = (now - pulled(cost, x)) / promise
  better = gain > 0
  raised = jnp.maximum(state.damping, state.pull / 10)
  damping = jnp.select(
    [~better, gain < 0.25, gain > 0.75],
    [4 * raised, 2 * raised, state.damping / 4],
    state.damping,
  )
  reached = better & ((gain > 0.75) | (promise < 0.3 * now))
  return State(
    x=jnp.where(better, x, state.x),
    start=state.start,
    cost=jnp.where(better, cost, state.cost),
    scale=scale,
    pull=jnp.where(reached, state.pull / 2, state.pull),
    damping=jnp.clip(damping, LEAST_DAMPING, MOST_DAMPING),
    memory=memory,
    products=state.products + 2 * (count + more) + len(x) + 6,
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


def _solve(linear, hold, near, slope, memory, most: int, tolerance: float):
  """Solves (JᵀJ + hold) v = -slope; returns v, J v, what to remember and the
  number of steps."""
  near = _bfgs(memory, near)
  first = near(slope)
  enough = tolerance**2 * jnp.vdot(slope, first)

  def going(carry):
    *_, size, count = carry
    return (size > enough) & (count < most)

  def advance(carry):
    v, image, downhill, direction, memory, size, count = carry
    ahead = linear.forward(direction)
    length = size / (_square(ahead) + hold * _square(direction))
    v, image = v + length * direction, image + length * ahead
    new = -slope - linear.backward(image) - hold * v
    memory = _remember(memory, direction, (downhill - new) / length)
    steep = near(new)
    next_size = jnp.vdot(new, steep)
    direction = steep + next_size / size * direction
    return v, image, new, direction, memory, next_size, count + 1

  nothing = jnp.zeros_like(slope), jnp.zeros_like(linear.residuals)
  size = jnp.vdot(slope, first)
  carry = (*nothing, -slope, -first, memory, size, jnp.int32(0))
  v, image, _, _, memory, _, count = jax.lax.while_loop(going, advance, carry)
  return v, image, memory, count


def _square(values) -> jax.Array:
  return jnp.vdot(values, values)
