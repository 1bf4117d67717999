"""A dense layer fed by the record itself, and what its gradient says in closed
form.

The gradient of a record x with respect to the kernel and bias of such a layer
is [x; 1] δᵀ, of rank one, with δ the loss's derivative with respect to the
layer's outputs. So the missing gradient's first left singular vector, scaled to
end in 1, is the record; the second singular value over the first says how badly
that holds. Leaked gradients were read this way by Phong et al. (2018).
"""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

PROBES = 8
TOLERANCE = 1e-6  # relative; probes are exact but for rounding
# Lengths to try where a layer has no bias, over those of the known records.
LENGTHS = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0, 2.8, 4.0)


class Dense(NamedTuple):
  """Where the layer's parameters lie in the flat vector (P,); W units."""

  kernel: np.ndarray  # (d, W)
  bias: np.ndarray | None  # (W,)


@functools.partial(jax.jit, static_argnums=0)
def _gradients(loss, params, x, y):
  def one(x, y):
    return ravel_pytree(jax.grad(loss)(params, x, y))[0]

  return jax.vmap(one)(x, y)


def gradients(problem, x, y) -> jax.Array:
  """∇ℓ of each record, (m, P)."""
  return _gradients(problem.loss, problem.params, x, y)


def made_up(problem):
  """(x, y) of `PROBES` records that are like the known ones but none of them.

  Each is the mean of a known record and of noise, so that no feature is 0 in
  all of them, as it may be in all known records.
  """
  rng = np.random.default_rng(0)
  pick = rng.integers(len(problem.x), size=(2, PROBES))
  low, high = problem.x.min(), problem.x.max()
  noise = rng.uniform(low, max(high, low + 1), (PROBES, *problem.x.shape[1:]))
  return 0.5 * (problem.x[pick[0]] + noise), problem.y[pick[1]]


def find(problem) -> Dense | None:
  """Finds the layer by its gradients at a few records made up for it.

  Several such layers (a skip connection) count as one; those without a bias
  are left out where others have one.
  """
  x, y = made_up(problem)
  rows = np.asarray(gradients(problem, x, y))
  x = x.reshape(PROBES, -1)
  d, unit = x.shape[1], x / np.square(x).sum(1, keepdims=True)
  start, kernels, spans = 0, [], []
  for leaf in jax.tree.leaves(problem.params):
    span = np.arange(start, start + leaf.size)
    start += leaf.size
    spans.append(span)
    if leaf.size % d or leaf.size == 0:
      continue
    for index in (span.reshape(d, -1), span.reshape(-1, d).T):
      given = rows[:, index]  # (m, d, W)
      delta = np.einsum("md,mdw->mw", unit, given)
      if _close(x[:, :, None] * delta[:, None], given):
        kernels.append((index, delta))
        break
  with_bias = []
  for index, delta in kernels:
    for span in spans:
      if len(span) == delta.shape[1] and _close(delta, rows[:, span]):
        with_bias.append(Dense(index, span))
        break
  if with_bias:
    return Dense(
      np.concatenate([layer.kernel for layer in with_bias], 1),
      np.concatenate([layer.bias for layer in with_bias]),
    )
  if kernels:
    return Dense(np.concatenate([index for index, _ in kernels], 1), None)
  return None


def _close(expected: np.ndarray, given: np.ndarray) -> bool:
  size = np.linalg.norm(given)
  return size > 0 and np.linalg.norm(expected - given) <= TOLERANCE * size


def starts(layer: Dense, missing: np.ndarray, known: np.ndarray):
  """Records (m, d) that the missing gradient (P,) may be of."""
  kernel = missing[layer.kernel]
  if layer.bias is not None:
    whole = np.vstack([kernel, missing[layer.bias]])
    left = np.linalg.svd(whole, full_matrices=False)[0][:, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
      return np.nan_to_num(left[:-1] / left[-1], posinf=0, neginf=0)[None]
  direction = np.linalg.svd(kernel, full_matrices=False)[0][:, 0]
  length = np.median(np.linalg.norm(known, axis=1))
  scales = length * np.array(LENGTHS)
  return np.concatenate([scales, -scales])[:, None] * direction
