"""A user's training function, and what can be done with it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.audit.frame import Frame
from informed_recon.types import Records, UserError

# (key, x, y) -> parameters, a pytree
Train = Callable[[jax.Array, Any, Any], Any]
MOST_EQUATIONS = 4000  # of a traced program; compiling more takes minutes


class Training(NamedTuple):
  """A training function with everything known but one record."""

  theta: np.ndarray  # (P,) the release
  run: Callable[[Any, Any], np.ndarray]  # (x, y) -> (P,), as the user runs it
  simulate: Callable | None  # (fixed, target, index) -> (P,), traceable
  why: str = ""  # there is no `simulate`


def vector(params: Any) -> jax.Array:
  """All real parameters of a pytree as (P,) float32; counters are left out."""
  leaves = jax.tree.leaves(params)
  if not all(isinstance(a, jax.Array) for a in leaves):
    leaves = [a if isinstance(a, jax.Array) else _array(a) for a in leaves]
  real = [
    jnp.ravel(a).astype(jnp.float32)
    for a in leaves
    if jnp.issubdtype(a.dtype, jnp.floating)
  ]
  if not real:
    raise UserError(
      "train returned no real parameters; return a pytree of them"
    )
  return jnp.concatenate(real)


def _array(leaf) -> np.ndarray:
  if hasattr(leaf, "detach"):  # a tensor of torch
    leaf = leaf.detach().cpu()
  a = np.asarray(leaf)
  if a.dtype.kind not in "fiub":
    raise UserError(
      f"train returned a {type(leaf).__name__}; it must return its parameters "
      "as a pytree of arrays"
    )
  return a


def prepare(
  train: Train, key: jax.Array, x: np.ndarray, y: np.ndarray, frame: Frame
) -> Training:
  """Trains once, and finds out whether training can be traced.

  Raises:
    UserError: train fails on its own records, or does not repeat itself.
  """

  def run(x, y) -> np.ndarray:
    return np.asarray(vector(train(key, x, y)))

  try:
    theta = run(x, y)
  except UserError:
    raise
  except Exception as first:  # whatever a user's code may raise
    as_numpy, error = run, first

    def run(x, y) -> np.ndarray:
      return as_numpy(jnp.asarray(x), jnp.asarray(y))

    try:
      theta = run(x, y)
    except Exception:
      raise UserError(
        f"train(key, x, y) failed on its own records: {_line(error)}"
      ) from error
  if not np.isfinite(theta).all():
    raise UserError("train ended at parameters that are not finite")

  def simulate(fixed: Records, target: Records, index):
    record, label = frame.unpack(target.x, target.y)
    return vector(
      train(
        key,
        fixed.x.at[index].set(record.astype(fixed.x.dtype)),
        fixed.y.at[index].set(jnp.asarray(label).astype(fixed.y.dtype)),
      )
    )

  fixed, example = floats(x, y), Records(frame.pack(x[:1], y[:1])[0], y[0])
  try:
    traced = jax.make_jaxpr(simulate)(fixed, example, np.int32(0))
  except Exception as error:
    return Training(theta, run, None, f"it cannot be traced ({_line(error)})")
  size = equations(traced.jaxpr)
  if size > MOST_EQUATIONS:
    why = (
      f"its traced program has {size} operations, minutes of compiling; write "
      "its loop as jax.lax.scan or fori_loop"
    )
    return Training(theta, run, None, why)
  return Training(theta, run, simulate)


def floats(x: np.ndarray, y: np.ndarray) -> Records:
  """Records that can be differentiated in x, and in a real y."""
  x = x if x.dtype.kind == "f" else x.astype(np.float32)
  return Records(jnp.asarray(x), jnp.asarray(y))


def equations(jaxpr) -> int:
  """Operations of a program, those of its parts included."""
  total = 0
  for equation in jaxpr.eqns:
    total += 1
    for value in jax.tree.leaves(
      equation.params,
      is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr"),
    ):
      inner = getattr(value, "jaxpr", value)
      total += equations(inner) if hasattr(inner, "eqns") else 0
  return total


def _line(error: Exception) -> str:
  text = str(error).strip().splitlines()
  return f"{type(error).__name__}: {text[0] if text else ''}"[:200]
