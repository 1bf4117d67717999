"""Two forms of a first layer z = Wᵀ x that a target and a fixed set share.

With X (d, n) the fixed set and x (d, 1) the target, full-batch training needs
of the first kernel W (d, H) two products and moves it along one gradient:

  Wᵀ X (H, n),  Wᵀ x (H, 1);   G = X δᵀ + x δ_xᵀ  (d, H),

δ (H, n) and δ_x (H, 1) being the cotangents of the products.

`Dense` trains Wᵀ itself: 4 n d H operations a step. A feature that is zero in
all of X (dark) adds nothing to Wᵀ X and gets no gradient from it, so d counts
the others (lit) only, and the target alone moves the dark rows.

`Span` trains coordinates. SGD with momentum ends at a linear function of W₀ and
of the gradients G_t, each of which is X times something plus x times something.
So the kernel never leaves the span of W₀, X and x:

  W = c W₀ + X Aᵀ + x aᵀ,   c a number, A (H, n), a (H, 1).

Put into the products, with K = Xᵀ X and k = Xᵀ x computed once,

  Wᵀ X = c W₀ᵀ X + A K + a kᵀ,     Wᵀ x = c W₀ᵀ x + A k + a ‖x‖²,

and G, read in these coordinates, is (0, δ, δ_x): nothing is multiplied
backward. A step costs 2 n² H operations, fewer where n < 2 d. An optimiser
that is linear in gradient and parameters moves (c, A, a) as it moves W, for it
commutes with the linear map from one to the other; the penalty's gradient l2 W
is l2 (c, A, a). Exact but for rounding. Derived for this project.

n and d are filled up with zeros to multiples of `TILE`. Products with what all
models share may be of shorter numbers (`lowered`).
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint

# Numbers of rows that matrix products like best.
TILE = 32


class DenseKernel(NamedTuple):
  """Wᵀ in two parts; axes d in its parts sum up to d."""

  lit: jax.Array  # (H, d)
  dark: jax.Array  # (H, d)


class DenseGiven(NamedTuple):
  records: jax.Array  # X, (d, n), lit features
  lit: jax.Array  # x, (d, 1), lit features
  dark: jax.Array  # x, (d, 1), dark features


@dataclasses.dataclass(frozen=True)
class Dense:
  """The transposed kernel itself."""

  mask: np.ndarray  # (d,) false where every fixed record is zero

  @property
  def lit(self) -> np.ndarray:
    return np.flatnonzero(self.mask)

  @property
  def dark(self) -> np.ndarray:
    return np.flatnonzero(~self.mask)

  def operations(self, n: int, d: int, steps: int) -> int:
    """Of a model, per unit of H; the target's share is left out."""
    del d
    return 4 * n * int(self.mask.sum()) * steps

  def enter(self, kernel, records, target) -> tuple[DenseKernel, DenseGiven]:
    lit, dark = self.lit, self.dark
    return (
      DenseKernel(_rows(kernel[lit].T), _rows(kernel[dark].T)),
      DenseGiven(_filled(records[lit]), target[lit], target[dark]),
    )

  def products(self, kernel, given, number="float32"):
    """Wᵀ X (H, n) and Wᵀ x (H, 1)."""
    target = kernel.lit @ given.lit + kernel.dark @ given.dark
    records = given.records[: len(self.lit)]
    return shared_product(kernel.lit, records, number), target

  def pull(self, delta, delta_target, kernel, given, number="float32"):
    """The gradient, like the kernel, from the products' cotangents."""
    del kernel
    lit, dark = delta_target @ given.lit.T, delta_target @ given.dark.T
    moved = shared_product(delta, given.records.T, number)
    return DenseKernel(moved[:, : len(self.lit)] + lit, dark)

  def leave(self, kernel, given):
    """W (d, H)."""
    del given
    back = np.argsort(np.concatenate([self.lit, self.dark]))
    return _rows(jnp.concatenate(kernel, axis=1)[:, back]).T


class SpanKernel(NamedTuple):
  """Coordinates of W = c W₀ + X Aᵀ + x aᵀ."""

  base: jax.Array  # c, ()
  records: jax.Array  # A, (H, n)
  target: jax.Array  # a, (H, 1)


class SpanGiven(NamedTuple):
  records: jax.Array  # X, (d, n)
  target: jax.Array  # x, (d, 1)
  base: jax.Array  # W₀ᵀ, (H, d)
  base_records: jax.Array  # W₀ᵀ X, (H, n)
  base_target: jax.Array  # W₀ᵀ x, (H, 1)
  gram: jax.Array  # K, (n, n)
  inner: jax.Array  # k, (n, 1)


@dataclasses.dataclass(frozen=True)
class Span:
  """Coordinates in the span of initial kernel, fixed set and target."""

  def operations(self, n: int, d: int, steps: int) -> int:
    return 2 * n**2 * steps + 2 * n * d

  def enter(self, kernel, records, target) -> tuple[SpanKernel, SpanGiven]:
    records, base = _filled(records, rows=False), kernel.T
    given = SpanGiven(
      records,
      target,
      base=base,
      base_records=base @ records,
      base_target=base @ target,
      gram=records.T @ records,
      inner=records.T @ target,
    )
    width, n = kernel.shape[1], records.shape[1]
    zeros = jnp.zeros((width, n)), jnp.zeros((width, 1))
    return SpanKernel(jnp.ones(()), *zeros), given

  def products(self, kernel, given, number="float32"):
    c, a = kernel.base, kernel.target
    records = shared_product(kernel.records, given.gram, number)
    records = records + a @ given.inner.T
    target = kernel.records @ given.inner + a * jnp.sum(given.target**2)
    return c * given.base_records + records, c * given.base_target + target

  def pull(self, delta, delta_target, kernel, given, number="float32"):
    del given, number
    return SpanKernel(jnp.zeros_like(kernel.base), delta, delta_target)

  def leave(self, kernel, given):
    moved = kernel.records @ given.records.T + kernel.target @ given.target.T
    return (kernel.base * given.base + moved).T


def lowered(given: DenseGiven | SpanGiven, number: str):
  """With what all models multiply, X and K, rounded to a `number`, for the
  products that round the other factor likewise. Sums are float32."""
  given = given._replace(records=_rounded(given.records, number))
  if isinstance(given, SpanGiven):
    given = given._replace(gram=_rounded(given.gram, number))
  return given


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
