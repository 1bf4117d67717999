"""Which of these records was it? The posterior over a list of candidates.

Each candidate has a gradient of its own, t r(x, y) (x, 1)^T, and the missing
gradient M is that of the right one but for errors e of known size. What a
solver leaves lies in few directions, so that all D equations together count as
one:

    log p(c | M) = log prior(c) - |(M - M_c) / e|^2 / 2 D + constant.

A candidate without a label stands for the label that explains M best.
"""

from typing import NamedTuple

import jax
import numpy as np

from informed_recon.attacks.convex import closed_form, inputs, missing
from informed_recon.types import UserError

EXPLAINS = 5.0  # most that the misfit of a candidate that may be it is
APART = 4.0  # so many times as much must that of every known record be
SURE = 0.999  # posterior probability of a candidate that is vouched for


class Identified(NamedTuple):
  """Which candidate a model was fitted to."""

  posterior: np.ndarray  # (m,) probability of each candidate, if it is one
  best: int  # the most probable one
  identifiable: bool  # False: do not trust it; `message` says why
  misfit: np.ndarray  # (m,) how far each is from M, in errors of M
  message: str = ""


def posterior(problem: inputs.Problem, x, y=None, prior=None) -> Identified:
  """The posterior over candidates.

  Args:
    problem: with all errors of M in `leftover`.
    x: (m, d) the candidates' features, as the model saw them.
    y: (m, K) their responses as `glm` encodes them, or None.
    prior: (m,) weights, or None for equal ones.
  """
  (m, m0), (noise, noise0) = missing.of(problem)
  left, left0 = problem.leftover
  lost = (problem.l1 + problem.l21 > 0) & (problem.weights == 0)
  trusted = np.where(lost, 0.0, 1 / np.maximum(np.hypot(noise, left), 1e-300))
  trusted0 = 1 / np.maximum(np.hypot(noise0, left0), 1e-300)
  if problem.intercept is None:
    trusted0 = np.zeros_like(trusted0)
  m, trusted = np.column_stack([m, m0]), np.column_stack([trusted, trusted0])
  residual = jax.vmap(problem.family.residual)

  def misfits(x, y):
    """(m,) of records, the label that explains M best where there is none."""
    rows = np.column_stack([x, np.ones(len(x))])
    h = np.asarray(x) @ problem.weights.T + problem.bias

    def misfit(r):
      """(m,) of gradients r (m, K) (x, 1)^T."""
      off = m - problem.target_weight * r[:, :, None] * rows[:, None, :]
      return np.sqrt(
        np.sum((trusted * off) ** 2, axis=(1, 2)) / np.sum(trusted > 0)
      )

    with jax.enable_x64(True):
      if y is not None:
        return misfit(np.asarray(residual(h, y)))
      if len(problem.codes):
        each = [np.broadcast_to(code, h.shape) for code in problem.codes]
        return np.min([misfit(np.asarray(residual(h, c))) for c in each], 0)
      # Any residual: the one that fits best.
      square = trusted**2
      best = np.einsum("kd,kd,nd->nk", square, m, rows) / (
        np.einsum("kd,nd->nk", square, rows**2) * problem.target_weight
      )
      return misfit(best)

  off = misfits(x, y)
  # Known records are not it: where one explains M nearly as well, so may a
  # record that is on nobody's list.
  decoys = misfits(problem.x, None if y is None else problem.y)
  if prior is None:
    prior = np.ones(len(x))
  with np.errstate(divide="ignore"):
    score = np.log(np.asarray(prior, np.float64)) - off**2 / 2
  share = np.exp(score - score.max())
  share /= share.sum()
  best = int(np.argmax(share))
  reasons = []
  if not off[best] <= EXPLAINS:
    reasons.append(
      "none of the candidates explains the weights: it is none of them, or the "
      "weights are not at the optimum of the objective stated here"
    )
  elif not np.min(decoys, initial=np.inf) > APART * EXPLAINS:
    reasons.append(
      "known records explain the weights nearly as well, so that a record "
      "which is not among the candidates may"
    )
  if not share[best] >= SURE:
    reasons.append("other candidates explain the weights as well")
  return Identified(share, best, not reasons, off, "; ".join(reasons))


def checked(problem: inputs.Problem, x, y, prior):
  """Candidates as `posterior` takes them: (x, encoded y or None, prior).

  Raises:
    UserError: they do not fit the problem; one line says what.
  """
  try:
    x = np.asarray(x, np.float64)
  except (TypeError, ValueError):
    raise UserError("candidates must be a table of numbers") from None
  d = problem.x.shape[1]
  if x.ndim != 2 or x.shape[1] != d or not len(x) or not np.isfinite(x).all():
    raise UserError(
      f"candidates have shape {x.shape}, not (m, {d}) of finite numbers"
    )
  if y is not None:
    y = inputs.responses(y)
    if len(y) != len(x):
      raise UserError(f"there are {len(x)} candidates with {len(y)} labels")
    if len(problem.codes):
      where = {label: i for i, label in enumerate(problem.labels)}
      unknown = {v for v in y.tolist() if v not in where}
      if unknown:
        raise UserError(
          f"candidates have unknown labels: {sorted(map(str, unknown))[:5]}"
        )
      y = problem.codes[[where[v] for v in y.tolist()]]
    else:
      y = inputs.floats("candidates_y", y).reshape(len(x), -1) / problem.unit
      if y.shape[1] != problem.y.shape[1]:
        raise UserError("candidates have another number of responses")
  if prior is not None:
    prior = inputs.floats("prior", prior)
    if prior.shape != (len(x),) or not (prior >= 0).all() or not prior.any():
      raise UserError(f"prior must be {len(x)} non-negative weights")
  return x, y, prior


def identify(
  family,
  weights,
  intercept,
  known_x,
  known_y,
  candidates_x,
  candidates_y=None,
  *,
  prior=None,
  **keywords,
) -> Identified:
  """Which of m candidates a model was fitted to besides the known records.

  Args:
    family, weights, intercept, known_x, known_y: as in `reconstruct`.
    candidates_x: (m, d) their features.
    candidates_y: (m,) their labels, where they are known.
    prior: (m,) weights; equal by default.
    **keywords: those of `reconstruct` that describe the objective.

  Raises:
    UserError: as `reconstruct`.
  """
  problem = inputs.check(
    family, weights, intercept, known_x, known_y, **keywords
  )
  given = checked(problem, candidates_x, candidates_y, prior)
  return posterior(closed_form.with_rounding(problem), *given)
