"""Leave-one-out audit: what one released convex model gives away of each of its
own records to an adversary who knows all the others.

One closed form a record, all in one jitted call: the record's weight is set to
zero among the known ones, as if it were not there.
"""

import functools

import jax
import numpy as np

from informed_recon.attacks.convex import (
  closed_form,
  grid,
  inputs,
  missing,
  trust,
)
from informed_recon.types import Reconstruction, UserError


@functools.partial(jax.jit, static_argnames=("family", "whole", "chunk"))
def _invert_each(family, whole, chunk, released, known, **arguments):
  x, y, sample_weight = known

  def one(i):
    others = x, y, sample_weight.at[i].set(0.0)
    return closed_form.invert(
      *(family, whole, others, released),
      target_weight=sample_weight[i],
      **arguments,
    )

  return jax.lax.map(one, np.arange(len(x)), batch_size=chunk)


def solve(problem: inputs.Problem, chunk: int = 64) -> list[Reconstruction]:
  """The audit of one checked problem, whose known records are all of them."""
  if problem.intercept is None:
    raise UserError("audit a model without intercept record by record")
  # With all records known, what the solver left is seen as it is.
  left, _ = missing.of(problem)
  problem = problem._replace(leftover=tuple(map(np.abs, left)))
  with jax.enable_x64(True):
    arguments = closed_form.arguments(problem)
    del arguments["target_weight"]
    found = _invert_each(
      problem.family,
      problem.whole,
      min(chunk, len(problem.x)),
      (problem.weights, problem.intercept),
      **arguments,
    )
    found = [np.asarray(a) for a in found]
  return [
    trust.verdict(_without(problem, i), *one)
    for i, one in enumerate(zip(*found, strict=True))
  ]


def _without(problem: inputs.Problem, i: int) -> inputs.Problem:
  """The problem of the adversary whose target is record i."""
  return problem._replace(
    x=np.delete(problem.x, i, 0),
    y=np.delete(problem.y, i, 0),
    sample_weight=np.delete(problem.sample_weight, i),
    target_weight=problem.sample_weight[i],
  )


def audit(
  family, weights, intercept, x, y, *, chunk=64, **keywords
) -> list[Reconstruction]:
  """Reconstructs each training record of one model from all the others.

  Args:
    family: as in `attacks.convex.reconstruct`.
    weights, intercept: of the released model, which has an intercept.
    x: (n, d) all its training records.
    y: (n,) or (n, K) their labels or responses.
    chunk: records worked on at once (memory: chunk * n * K numbers).
    **keywords: those of `attacks.convex.reconstruct` but `columns` and
      `target_weight`; `sample_weight` for all n records, a penalty per record
      times all n.

  Returns:
    n reconstructions, in the order of the records.

  Raises:
    UserError: as `attacks.convex.reconstruct`.

  Cost: n gradients over the data.
  """
  problem = inputs.check(family, weights, intercept, x, y, **keywords)
  return checked(solve(problem, chunk), problem.x)


def checked(found: list[Reconstruction], x) -> list[Reconstruction]:
  """Each answer held against the grids of all records but its own."""
  return [grid.checked(r, np.delete(x, i, 0)) for i, r in enumerate(found)]
