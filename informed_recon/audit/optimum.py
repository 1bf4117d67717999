"""How far a release is from the optimum of the objective stated for it.

The auditor holds all records, so that the gradient of the whole objective,
summed over them, can be computed. At an optimum it is 0. Where it is as large
as a record's own, no single record can be read off it, and nothing follows from
that for a release that has another objective, other data, or another l2.
"""

from typing import NamedTuple

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from informed_recon.attacks.convex import inputs
from informed_recon.attacks.convex import missing as convex_missing
from informed_recon.attacks.stationarity import missing
from informed_recon.attacks.stationarity.problem import Problem

OWN = 32  # records whose own gradients are measured


class Optimum(NamedTuple):
  """What the gradient of the stated objective says at a release."""

  reached: bool  # nearly enough for a single record to show
  said: str  # a sentence


def of_loss(problem: Problem) -> Optimum:
  """Of the objective of `attacks.stationarity`, with all records known."""
  loss, params, x, y, l2 = problem[:5]
  with jax.enable_x64(True):

    def gradient(x, y):
      return missing.weighted_gradient(loss, params, x, y, np.ones(len(y)))

    theta, _ = ravel_pytree(params)
    total = np.linalg.norm(gradient(x, y) + len(x) * l2 * theta)
    own = [np.linalg.norm(gradient(x[[i]], y[[i]])) for i in _some(len(x))]
  return _judged(total, own)


def of_head(head, features, y) -> Optimum:
  """Of a convex last layer (`Head`) on the features (n, d) of all records."""
  problem = inputs.check(
    head.family,
    head.weights,
    head.intercept,
    features,
    y,
    l2=head.l2,
    penalise_intercept=head.penalise_intercept,
  )
  weights, bias = problem.weights, problem.bias
  (total, of_bias), _ = convex_missing.of(problem)
  some = _some(len(features))
  with jax.enable_x64(True):
    scores = problem.x[some] @ weights.T + bias
    left = jax.vmap(problem.family.residual)(scores, problem.y[some])
  size = np.sqrt(np.square(problem.x[some]).sum(1) + 1)
  own = np.linalg.norm(np.asarray(left), axis=1) * size
  return _judged(np.hypot(np.linalg.norm(total), np.linalg.norm(of_bias)), own)


def _some(n: int) -> np.ndarray:
  return np.linspace(0, n - 1, min(OWN, n), dtype=int)


def _judged(total: float, own) -> Optimum:
  share = float(total) / max(float(np.median(own)), 1e-300)
  said = (
    "At the release the gradient of the stated objective is that of "
    f"{share:.2g} typical records; at its optimum it is 0."
  )
  if share < 1:
    return Optimum(True, said)
  return Optimum(
    False,
    f"{said} The model was not trained to convergence, or l2, the loss, the "
    "data or their order are others.",
  )
