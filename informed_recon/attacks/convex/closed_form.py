"""Closed-form reconstruction of one record from a fitted convex model.

At the optimum the gradient of the training objective is zero, so the target's
gradient is minus everybody else's, which the informed adversary can compute:

    M = t r (1, x)^T = -(sum_i s_i r_i (1, x_i)^T + d penalty),   r = dloss/dh

M is (K, 1 + d) and of rank one. Its first column is t r, hence x by least
squares over the outputs, and the response is the one whose residual at
h = W x + b is r. (Balle, Cherubin, Hayes 2022, Theorem 1, for canonical links;
the other losses follow from their own r.)

Whether a record is vouched for is the business of `trust`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon.attacks.convex import (
  glm,
  grid,
  inputs,
  missing,
  roots,
  trust,
  whitened,
)
from informed_recon.attacks.convex.columns import placed, sharpened
from informed_recon.types import Reconstruction, UserError


@functools.partial(jax.jit, static_argnames=("family", "whole"))
def invert(
  family,
  whole,
  known,
  released,
  penalty,
  target_weight,
  codes,
  scale,
  precision,
  leftover,
):
  """One target of a model with intercept: (x, y, code, link, rank, floor,
  error); `error` (d,) is the features' standard error."""
  (m, m0), (noise, noise0) = missing.gradient(
    family, known, released, penalty, precision
  )
  weights, intercept = released
  _, l1, l21, _ = penalty
  m, m0 = m / target_weight, m0 / target_weight
  noise, noise0 = noise / target_weight, noise0 / target_weight
  left, left0 = (
    jnp.broadcast_to(a, b.shape) / target_weight
    for a, b in zip(leftover, (m, m0))
  )
  # Where an l1 penalty holds a weight at zero, its gradient may be anything in
  # [-l1, l1]: that entry of M is lost, and the feature with it if all are.
  active = jnp.where((l1 + l21 > 0) & (weights == 0), 0.0, 1.0)
  r_norm = jnp.sqrt(jnp.sum(m0**2))
  weight = jnp.sum(active * m0[:, None] ** 2, axis=0)
  lost = weight == 0
  weight = jnp.where(lost, 1.0, weight)
  x = jnp.sum(active * m0[:, None] * m, axis=0) / weight
  # A lost feature has zero weights, so that the predictor does without it.
  h = weights @ x + intercept
  y, code, link = glm.explain(family, h, m0, codes, whole)
  size = jnp.maximum(scale, jnp.abs(x))

  def relative(errors):
    errors = jnp.max(jnp.where(lost, 0.0, errors) / size)
    return jnp.where(r_norm > 0, errors / r_norm, jnp.inf)

  def propagated(e, e0):
    """(d,) error of x from independent errors of M."""
    square = active * m0[:, None] ** 2 * (e**2 + (x * e0[:, None]) ** 2)
    return jnp.sqrt(jnp.sum(square, axis=0)) / weight

  off = active * (m - m0[:, None] * x)
  rank = relative(jnp.sqrt(jnp.sum(off**2, axis=0)))
  rounding = propagated(noise, noise0)
  floor = jnp.maximum(
    relative(
      jnp.sqrt(jnp.sum((active * noise) ** 2, axis=0))
      + jnp.abs(x) * jnp.sqrt(jnp.sum(noise0**2))
    ),
    jnp.where(r_norm > 0, jnp.sqrt(jnp.sum(noise0**2)) / r_norm, jnp.inf),
  )
  if weights.shape[0] > 2:
    # Spare equations of each feature, and how far they are from holding.
    spare = jnp.sum(active, axis=0) - 2
    expected = active * (noise**2 + (x * noise0[:, None]) ** 2)
    seen = jnp.where((spare > 0) & ~lost, 1.0, 0.0)
    share = jnp.sum(seen * jnp.sum(off**2, axis=0) / size**2) / jnp.sum(
      seen * jnp.sum(expected, axis=0) / size**2
    )
    count = jnp.sum(seen * spare)
    # Few equations may hold by chance.
    ratio = jnp.sqrt(share) * (1 + 3 / jnp.sqrt(jnp.maximum(count, 1.0)))
    ratio = jnp.where(count > 3, ratio, 1.0)
    rounding, floor = ratio * rounding, ratio * floor
  error = jnp.sqrt(rounding**2 + propagated(left, left0) ** 2)
  x, error = (jnp.where(lost, jnp.nan, a) for a in (x, error))
  return x, y, code, link, rank, floor, error


def arguments(problem):
  return dict(
    known=(problem.x, problem.y, problem.sample_weight),
    penalty=problem.penalty,
    target_weight=problem.target_weight,
    codes=problem.codes,
    scale=missing.column_scale(problem.x),
    precision=problem.precision,
    leftover=problem.leftover,
  )


def with_rounding(problem: inputs.Problem) -> inputs.Problem:
  """Counts the rounding of published weights among what the solver left."""
  if problem.decimals is None:
    return problem
  errors = missing.of_rounding(problem)
  return problem._replace(
    leftover=tuple(map(np.hypot, problem.leftover, errors))
  )


def solve(problem: inputs.Problem, known=None, **how) -> Reconstruction:
  """Reconstructs the target of one checked problem; `known` and `how` are
  passed on to `columns.sharpened`."""
  problem = with_rounding(problem)
  (found,) = _weighed([problem], [_solve(problem)])
  if known is None:
    return found
  return sharpened(problem, found, known, **{"known_x": problem.x} | how)


def _weighed(problems, found) -> list[Reconstruction]:
  """`found` of models that differ in their target alone, with what comes back
  where the equations are weighed by their errors."""
  found = list(found)
  again = [
    i for i, one in enumerate(zip(problems, found)) if whitened.helps(*one)
  ]
  inverse = whitened.precision_matrix(problems[again[0]]) if again else None
  if inverse is not None:
    for i in tqdm(again, desc="weigh", unit="model", disable=len(again) < 10):
      found[i] = whitened.reconstruct(problems[i], inverse, found[i])
  return found


def _solve(problem: inputs.Problem) -> Reconstruction:
  if problem.intercept is None:
    (m, _), (noise, _) = missing.of(problem)
    with jax.enable_x64(True):
      found = roots.reconstruct(problem, m, noise, trust.tolerance(problem))
    if not found.identifiable:
      return found
    return trust.doubted(found, *trust.too_uncertain(problem, found.error))
  with jax.enable_x64(True):
    found = invert(
      problem.family,
      problem.whole,
      released=(problem.weights, problem.intercept),
      **arguments(problem),
    )
  return trust.verdict(problem, *map(np.asarray, found))


def reconstruct(
  family,
  weights,
  intercept,
  known_x,
  known_y,
  *,
  l2=0.0,
  penalise_intercept=False,
  link=None,
  sample_weight=None,
  target_weight=1.0,
  known_label=None,
  known_norm=None,
  label_set=None,
  decimals=None,
  columns=None,
) -> Reconstruction:
  """Recovers the one training record that the adversary does not know.

  The released model minimises, over all n known records and the target,
  sum_i s_i loss(W x_i + b, y_i) + l2 / 2 ||W||^2 (+ l2 / 2 ||b||^2). A penalty
  given per record (mean form) is multiplied by the total weight, target
  included. `linear` has half the squared error as its loss, so that l2 is
  ridge's alpha; `squared_hinge` has max(0, 1 - y h)^2, y = -1 or 1.

  Args:
    family: "linear", "logistic", "softmax", "poisson", "gamma" or
      "squared_hinge". K > 1 outputs of `logistic` and `squared_hinge` are read
      as one class against the rest.
    weights: (d,), (1, d) or (K, d), of the released model.
    intercept: (K,) or a number; None where the model has none. Then only the
      direction of the features is determined, and one of the last three
      arguments fixes their length.
    known_x: (n, d) the fixed set's features, as the model saw them.
    known_y: (n,) its labels, or (n, K) for several real responses.
    l2: weight of the penalty, sum form.
    penalise_intercept: whether the intercept is under the penalty.
    link: "log" (usual, default) or "inverse" (canonical) for gamma.
    sample_weight: (n,) weights s_i of the known records; 1 by default.
    target_weight: the target's own weight.
    known_label: the target's response, where it is known.
    known_norm: the Euclidean norm of its features, where it is known.
    label_set: the responses it may have; for classes, all of them in the order
      of the outputs.
    decimals: that the weights were rounded to; found out where they show it.
    columns: `Columns`: what is known of the target's columns.

  Returns:
    A `Reconstruction`. Trust `x` and `y` only where `identifiable` is set, and
    where `checked` is not, only as far as the weights are known to be optimal.
    Everything is computed in float64. Weights that come rounded to float32
    are checked to 1e-2 of the columns' size instead of 1e-5, which is about
    as well as their rounding lets a record be known.

  Raises:
    UserError: the arguments do not fit each other; one line says what.
  """
  problem = inputs.check(
    family,
    weights,
    intercept,
    known_x,
    known_y,
    l2=l2,
    penalise_intercept=penalise_intercept,
    link=link,
    sample_weight=sample_weight,
    target_weight=target_weight,
    known_label=known_label,
    known_norm=known_norm,
    label_set=label_set,
    decimals=decimals,
  )
  if columns is not None:
    columns = placed(columns, None, problem.x.shape[1])
  return grid.checked(solve(problem, columns), problem.x)


@functools.partial(jax.jit, static_argnames=("family", "whole", "chunk"))
def _invert_many(family, whole, chunk, released, **arguments):
  return jax.lax.map(
    lambda one: invert(family, whole, released=one, **arguments),
    released,
    batch_size=chunk,
  )


def reconstruct_many(
  family,
  weights,
  intercept,
  known_x,
  known_y,
  *,
  chunk=64,
  columns=None,
  **keywords,
) -> list[Reconstruction]:
  """`reconstruct` for B models that differ in their target only.

  The whole leave-one-out audit of a fixed set in one jitted call, `chunk`
  models at a time (memory: chunk * n * K numbers).

  Args:
    family: as in `reconstruct`.
    weights: (B, K, d) or (B, d).
    intercept: (B, K) or (B,). Models without intercept are refused; call
      `reconstruct` for each.
    known_x: (n, d), shared by all models.
    known_y: (n,) or (n, K), shared by all models.
    chunk: how many models are worked on at once.
    columns: as in `reconstruct`, of all targets.
    **keywords: those of `reconstruct`.

  Returns:
    B reconstructions, the same as `reconstruct` gives for each. If the weights
    of all models are rounded, they are solved one at a time.

  Raises:
    UserError: as `reconstruct`, and where there is no intercept.
  """
  problem = inputs.check(
    family, weights, intercept, known_x, known_y, batched=True, **keywords
  )
  if problem.intercept is None:
    raise UserError("models without intercept: call reconstruct for each")
  if columns is not None:
    columns = placed(columns, None, problem.x.shape[1])
  models = [
    problem._replace(weights=one[0], intercept=one[1])
    for one in zip(problem.weights, problem.intercept)
  ]
  if problem.decimals is not None:  # each model has errors of its own
    found = [solve(model, columns) for model in models]
  else:
    found = _solve_many(problem, models, chunk)
    if columns is not None:
      found = [
        sharpened(model, one, columns, problem.x)
        for model, one in zip(models, found)
      ]
  return [grid.checked(one, problem.x) for one in found]


def _solve_many(problem, models, chunk) -> list[Reconstruction]:
  with jax.enable_x64(True):
    found = _invert_many(
      problem.family,
      problem.whole,
      min(chunk, len(models)),
      (problem.weights, problem.intercept),
      **arguments(problem),
    )
    found = [np.asarray(a) for a in found]
  said = [trust.verdict(*one) for one in zip(models, *found, strict=True)]
  return _weighed(models, said)
