"""A checked question to the stationarity attack, in float64."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.types import UserError

MOST_LABELS = 100  # more different labels than this are real responses

# (params, one record's features, its label) -> loss ()
Loss = Callable[[Any, Any, Any], jax.Array]


class Problem(NamedTuple):
  """The arguments of `reconstruct`, checked; arrays are NumPy's."""

  loss: Loss
  params: Any  # pytree of float64
  x: np.ndarray  # (n, *shape) float64
  y: np.ndarray  # (n, ...)
  l2: float
  labels: np.ndarray | None  # (C, ...) to try; None: a real response
  bounds: tuple[float, float]  # of features; infinite where there are none


class Unknown(NamedTuple):
  """How a vector z holds what is sought: the features, and a real response."""

  shape: tuple[int, ...]  # of the record
  size: int  # d
  response: tuple[int, ...] | None  # its shape; None: y is a label to try

  def split(self, z, label):
    """(x, y) of a vector z and the label it was sought with."""
    x = z[: self.size].reshape(self.shape)
    if self.response is None:
      return x, label
    return x, z[self.size :].reshape(self.response)


class Found(NamedTuple):
  """Candidates after the search."""

  z: np.ndarray  # (C, ...)
  y: np.ndarray  # (C, ...) labels
  cost: np.ndarray  # (C,) squared misfit
  residual: np.ndarray  # (C,) relative


def check(loss, params, known_x, known_y, *, l2, labels, bounds) -> Problem:
  """Refuses what makes no sense.

  Raises:
    UserError: one line says what is wrong and how to mend it.
  """
  x, y = _numbers(known_x, "known_x"), _numbers(known_y, "known_y")
  x = x.astype(np.float64)
  if not x.ndim or not len(x):
    raise UserError("known_x must hold at least one record, (n, ...)")
  if y.shape[:1] != x.shape[:1]:
    raise UserError(
      f"known_y must have a label for each of the {len(x)} records of known_x, "
      f"got shape {y.shape}"
    )
  if not x[0].size:
    raise UserError(f"known_x has records without features: shape {x.shape}")
  leaves, tree = jax.tree.flatten(params)
  arrays = [_numbers(leaf, "params") for leaf in leaves]
  if not arrays or any(a.dtype.kind != "f" for a in arrays):
    raise UserError(
      "params must be a pytree of floating-point arrays, at least one"
    )
  params = jax.tree.unflatten(tree, [a.astype(np.float64) for a in arrays])
  if np.ndim(_numbers(l2, "l2")) or l2 < 0:
    raise UserError(f"l2 must be a finite number of at least 0, got {l2}")
  low, high = (-np.inf, np.inf) if bounds is None else bounds
  if not low < high:
    raise UserError(f"bounds must be (lower, upper) or None, got {bounds}")
  if y.dtype.kind == "f":
    y = y.astype(np.float64)
  problem = Problem(
    loss,
    params,
    x,
    y,
    float(l2),
    _labels(labels, y),
    (float(low), float(high)),
  )
  _try(problem)
  return problem


def _numbers(value, name: str) -> np.ndarray:
  try:
    array = np.asarray(value)
  except (TypeError, ValueError) as error:
    raise UserError(f"{name} must be an array: {error}") from None
  if array.dtype.kind not in "biuf" and jnp.issubdtype(
    array.dtype, jnp.floating
  ):
    array = array.astype(np.float32)  # bfloat16 and its kin
  if array.dtype.kind not in "biuf":
    raise UserError(f"{name} must hold numbers, got {array.dtype}")
  if not np.isfinite(array).all():
    raise UserError(f"{name} must be finite")
  return array


def _labels(labels, y: np.ndarray) -> np.ndarray | None:
  """Those to try: what was given, or what the known records suggest."""
  if labels is not None:
    labels = _numbers(labels, "labels")
    if labels.ndim != y.ndim or labels.shape[1:] != y.shape[1:]:
      raise UserError(
        f"labels must be of the shape (C, *{y.shape[1:]}), as known_y is, "
        f"got {labels.shape}"
      )
    if not len(labels):
      raise UserError("labels must hold at least one label, or be None")
    return labels.astype(y.dtype)
  distinct = np.unique(y, axis=0)
  if y.dtype.kind in "iub" and y.ndim == 1:
    if y.min() >= 0:  # a class that no known record has may be the target's
      distinct = np.arange(int(y.max()) + 1).astype(y.dtype)
    return distinct
  few = len(distinct) <= min(MOST_LABELS, max(len(y) // 4, 1))
  return distinct if few else None


def _try(problem: Problem) -> None:
  """Differentiates the loss twice, in the abstract, and evaluates it once."""
  loss, params = problem.loss, problem.params
  record = problem.x[0], problem.y[0]
  try:
    with jax.enable_x64(True):
      shape = jax.eval_shape(loss, params, *record)
      if shape.shape:
        raise UserError(
          f"loss must return the loss () of one record, got shape {shape.shape}"
        )
      jax.eval_shape(
        lambda p, x, y: jax.jvp(
          lambda x: jax.grad(loss)(p, x, y), (x,), (jnp.ones_like(x),)
        ),
        params,
        *record,
      )
      value = float(loss(params, *record))
  except UserError:
    raise
  except Exception as error:  # whatever a loss may raise
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise UserError(
      "loss(params, x, y) must take one record and be differentiable in params "
      f"and then in x, which is real: {line[:200]}"
    ) from None
  if not np.isfinite(value):
    raise UserError(f"loss of the first known record is {value}")
