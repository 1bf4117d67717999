"""Two ways to train a first layer z = Wᵀ x that a target and a set share.

With X (d, n) the fixed set and x the target, full-batch training needs of the
first kernel W (d, H) its products Wᵀ X and Wᵀ x, and moves it along

  G = X δᵀ + x δ_xᵀ,   δ (H, n) and δ_x (H, 1) the cotangents of the products.

`Dense` holds Wᵀ and pays 4 n d H operations a step, d counting the features
that are not zero in all of X. `Span` holds what training adds to the initial
kernel W₀, in the span of the records:

  W = c W₀ + X Aᵀ + x aᵀ,   so that   Wᵀ X = c W₀ᵀ X + A K + a (Xᵀ x)ᵀ

with A (H, n), a (H, 1) and K = Xᵀ X, and G is (0, δ, δ_x) in these coordinates:
no product backward, 2 n² H operations a step, and all of W₀ᵀ X, K and Xᵀ x are
computed once. It needs an optimiser that is linear in gradient and parameters
and treats all of them alike, such as SGD with momentum. Exact but for rounding.

Each has `enter`, `products`, `pull` and `leave`; n and d are filled up with
zeros to `TILE`, for whose multiples matrix products are fastest. Products with
what all models share may be of shorter numbers (`lowered`).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint

# Numbers of rows that matrix products like best.
TILE = 32


class Given(NamedTuple):
  """What a first layer keeps of the data beside what it trains."""

  records: jax.Array  # X, (d, n)
  target: Any  # x, (d, 1)
  base: Any = None  # W₀ᵀ, (H, d)
  base_records: Any = None  # W₀ᵀ X, (H, n)
  base_target: Any = None  # W₀ᵀ x, (H, 1)
  gram: Any = None  # K, (n, n)
  inner: Any = None  # Xᵀ x, (n, 1)


class Coordinates(NamedTuple):
  """A kernel as `Span` holds it."""

  base: jax.Array  # c, ()
  records: jax.Array  # A, (H, n)
  target: jax.Array  # a, (H, 1)


class Transposed(NamedTuple):
  """A kernel as `Dense` holds it; axes d in its parts sum up to d."""

  lit: jax.Array  # (H, d)
  dark: jax.Array  # (H, d)


class Dense:
  """The transposed kernel itself.

  A feature that is zero in all of the fixed set adds nothing to its products
  and none of its records to the gradient: the target alone moves that row.
  """

  def __init__(self, lit: np.ndarray):
    """`lit` (d,) is false where every fixed record is zero."""
    self.lit, self.dark = np.flatnonzero(lit), np.flatnonzero(~lit)
    self.back = np.argsort(np.concatenate([self.lit, self.dark]))

  def operations(self, n: int, d: int, steps: int) -> int:
    """Of a model, per unit of H; the target's share is left out."""
    del d
    return 4 * n * len(self.lit) * steps

  def enter(self, kernel, records, target):
    held = Transposed(_rows(kernel[self.lit].T), _rows(kernel[self.dark].T))
    parts = Transposed(target[self.lit], target[self.dark])
    return held, Given(_filled(records[self.lit]), parts)

  def products(self, held, given, number="float32"):
    lit, dark = given.target
    target = held.lit @ lit + held.dark @ dark
    records = given.records[: len(self.lit)]
    return shared_product(held.lit, records, number), target

  def pull(self, delta, delta_target, held, given, number="float32"):
    lit, dark = (delta_target @ part.T for part in given.target)
    moved = shared_product(delta, given.records.T, number)
    return Transposed(moved[:, : len(self.lit)] + lit, dark)

  def leave(self, held, given):
    del given
    return _rows(jnp.concatenate(held, axis=1)[:, self.back]).T


class Span:
  """Coordinates in the span of initial kernel, fixed set and target."""

  def operations(self, n: int, d: int, steps: int) -> int:
    return 2 * n**2 * steps + 2 * n * d

  def enter(self, kernel, records, target):
    given, base = _filled(records, rows=False), kernel.T
    given = Given(
      given,
      target,
      base=base,
      base_records=base @ given,
      base_target=base @ target,
      gram=given.T @ given,
      inner=given.T @ target,
    )
    width = kernel.shape[1]
    held = Coordinates(
      jnp.ones(()),
      jnp.zeros((width, given.records.shape[1])),
      jnp.zeros((width, 1)),
    )
    return held, given

  def products(self, held, given, number="float32"):
    c, a = held.base, held.target
    records = shared_product(held.records, given.gram, number)
    records = records + a @ given.inner.T
    target = held.records @ given.inner + a * jnp.sum(given.target**2)
    return c * given.base_records + records, c * given.base_target + target

  def pull(self, delta, delta_target, held, given, number="float32"):
    del given, number
    return Coordinates(jnp.zeros_like(held.base), delta, delta_target)

  def leave(self, held, given):
    moved = held.records @ given.records.T + held.target @ given.target.T
    return (held.base * given.base + moved).T


def lowered(given: Given, number: str) -> Given:
  """With what all models multiply, X and K, rounded to a `number`, for the
  products that round the other factor likewise. Sums are float32."""
  gram = None if given.gram is None else _rounded(given.gram, number)
  return given._replace(records=_rounded(given.records, number), gram=gram)


def shared_product(
  one: jax.Array, shared: jax.Array, number: str = "float32"
) -> jax.Array:
  """`one` (m, k), rounded to a `number`, times what all models share (k, n)."""
  return jax.lax.dot(
    _rounded(one, number),
    shared,
    # Elsewhere than on a GPU of that kind: more exact, of the same factors.
    precision=number if number == "tensorfloat32" else None,
    preferred_element_type=jnp.float32,
  )


def _rounded(x: jax.Array, number: str) -> jax.Array:
  """To one of `recipe.PRODUCTS`, of 24, 11 or 8 significant bits."""
  if number == "tensorfloat32":  # its bits in a float32, the last 13 zero
    return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10)
  return x.astype(number)


def _filled(records: jax.Array, rows: bool = True) -> jax.Array:
  d, n = records.shape
  return jnp.pad(records, ((0, -d % TILE if rows else 0), (0, -n % TILE)))


def _rows(x: jax.Array) -> jax.Array:
  """Keeps the compiler from storing a loop's (H, d) as (d, H) because it is
  wanted so before and after: two copies a step."""
  return with_layout_constraint(x, Layout(tuple(range(x.ndim))))
