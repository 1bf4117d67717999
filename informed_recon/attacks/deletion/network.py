"""A record that was deleted from the data of any model trained to a stationary
point, out of its parameters before and after."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.deletion import posterior
from informed_recon.attacks.stationarity import dense, missing, search
from informed_recon.attacks.stationarity import problem as problems
from informed_recon.types import Reconstruction, UserError

BLOCK = 256  # public records whose gradients are there at a time


def reconstruct_network(
  loss,
  before,
  after,
  public_x,
  public_y,
  *,
  records,
  l2=0.0,
  labels=None,
  bounds=(0.0, 1.0),
) -> Reconstruction:
  """The record that `before` was trained with and `after` was not.

  Both are stationary points of the mean loss over their records plus
  (l2 / 2) ‖params‖². Where `after` was trained on from `before` the public
  records' sampling errors nearly cancel; two trainings that ended in
  different basins give an answer of large error. Which model is which is taken
  on trust.

  Args:
    loss: `loss(params, x, y)`, the loss () of one record.
    before: any pytree of floating-point arrays.
    after: a pytree of the same structure.
    public_x: (m, *shape) records of the training records' distribution.
    public_y: (m, ...) their labels or real responses.
    records: number of records that `before` was trained with.
    l2: weight of the penalty, mean form.
    labels: as in `stationarity.reconstruct`.
    bounds: the least and the largest value of a feature, or None.

  Returns:
    As `deletion.reconstruct` where a dense layer sees the record itself. For
    other networks, and real responses, what `stationarity` makes of the
    gradient, which takes it for exact.

  Raises:
    UserError: the arguments do not fit each other; one line says what.
  """
  first, second = (
    problems.check(
      loss,
      params,
      public_x,
      public_y,
      **dict(l2=l2, labels=labels, bounds=bounds),
    )
    for params in (before, after)
  )
  if jax.tree.structure(first.params) != jax.tree.structure(second.params) or [
    a.shape for a in jax.tree.leaves(first.params)
  ] != [a.shape for a in jax.tree.leaves(second.params)]:
    raise UserError("before and after must be pytrees of the same shapes")
  n = records - 1
  if not np.ndim(records) == 0 or int(records) != records or n < 2:
    raise UserError(
      "records must be the number that `before` was trained with, got "
      f"{records}"
    )
  with jax.enable_x64(True):
    gradient = _gradient(first, second, n)
    layer = dense.find(first)
    if layer is None or first.labels is None:
      found = search.solve(first, gradient)
      return found._replace(
        identifiable=False,
        message="; ".join(
          m
          for m in (found.message, "the public records' noise is unknown")
          if m
        ),
      )
    return _read(first, second, n, layer, np.asarray(gradient))


def _gradient(first, second, n) -> jax.Array:
  """The deleted record's gradient at `first` (P,), by the public records."""
  m = len(first.x)
  weight = jnp.full(m, n / m)
  a, b = (
    missing.weighted_gradient(p.loss, p.params, p.x, p.y, weight)
    + p.l2 * count * ravel_pytree(p.params)[0]
    for p, count in ((first, n + 1), (second, n))
  )
  return b - a


def _read(first, second, n, layer, gradient) -> Reconstruction:
  x, y = first.x, first.y
  m, shape = len(x), x.shape[1:]
  flat = x.reshape(m, -1)
  bias = layer.bias is not None
  inputs = np.hstack([flat, np.ones((m, 1))]) if bias else flat
  d = flat.shape[1]

  def changes(start):
    part = slice(start, start + BLOCK)
    rows = [
      _deltas(dense.gradients(p, x[part], y[part]), layer, flat[part])
      for p in (second, first)
    ]
    return rows[0] - rows[1]

  change = np.concatenate([changes(i) for i in range(0, m, BLOCK)])
  noise = posterior.covariances(inputs, change, n * (1 + n / m))
  matrix = gradient[layer.kernel]
  if bias:
    matrix = np.vstack([matrix, gradient[layer.bias][None]])
  labels = first.labels
  of = [
    np.flatnonzero((labels == v).reshape(len(labels), -1).all(1)) for v in y
  ]
  if not all(len(k) for k in of):
    raise UserError("labels must list every label of public_y")
  of = np.array([k[0] for k in of])

  def at(x, label):
    record = x[:d].reshape(shape), labels[label]
    return first.loss, first.params, *record, layer.kernel, layer.bias

  def slope(x, label):
    found = np.asarray(_slope(*at(x, label))).reshape(-1, d)
    return np.pad(found, ((0, 0), (0, bias)))  # the entry 1 stays

  known = posterior.prior(inputs, of, len(labels), bias)
  seen = posterior.Seen(matrix, *noise, np.empty((0, *matrix.shape)))
  readings = posterior.read(
    seen,
    known,
    range(len(labels)),
    lambda x, label: _delta(*at(x, label)),
    slope,
  )
  order = np.argsort([r.residual for r in readings])
  best = readings[order[0]]
  low, high = first.bounds
  candidates = tuple(
    (readings[i].x[:d].clip(low, high).reshape(shape), labels[i][()])
    for i in order
  )
  return Reconstruction(
    *candidates[0],
    identifiable=False,
    residual=best.residual,
    candidates=candidates,
    message=posterior.said(best, True),
    error=best.error[:d].reshape(shape),
    checked=False,
  )


@functools.partial(jax.jit, static_argnums=0)
def _delta(loss, params, x, label, kernel, bias):
  """δ (W,) of one record."""
  row = ravel_pytree(jax.grad(loss)(params, x, label))[0]
  flat = x.ravel()
  return flat @ row[kernel] / (flat @ flat) if bias is None else row[bias]


@functools.partial(jax.jit, static_argnums=0)
def _slope(loss, params, x, label, kernel, bias):
  return jax.jacrev(_delta, 2)(loss, params, x, label, kernel, bias)


def _deltas(rows, layer, x) -> np.ndarray:
  """(m, W) δ of records x (m, d) from their gradients (m, P)."""
  kernels = np.asarray(rows)[:, layer.kernel]
  unit = x / np.maximum(np.square(x).sum(1, keepdims=True), 1e-300)
  return np.einsum("md,mdw->mw", unit, kernels)
