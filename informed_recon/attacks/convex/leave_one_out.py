"""Leave-one-out audit: what one released convex model gives away of each of its
own records to an adversary who knows all the others.

One closed form a record, all in one jitted call: the record's weight is set to
zero among the known ones, as if it were not there.
"""

import functools

import jax
import numpy as np

from informed_recon.attacks.convex import closed_form, inputs, missing, trust
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
  with jax.enable_x64(True):
    # With all records known, what the solver left is seen as it is.
    left, _ = missing.gradient(
      problem.family,
      (problem.x, problem.y, problem.sample_weight),
      (problem.weights, problem.intercept),
      problem.penalty,
      problem.precision,
    )
    problem = problem._replace(leftover=tuple(np.abs(a) for a in left))
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
  return [trust.verdict(problem, *one) for one in zip(*found, strict=True)]


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
    **keywords: those of `attacks.convex.reconstruct`; `sample_weight` for all
      n records, a penalty per record times all n.

  Returns:
    n reconstructions, in the order of the records.

  Raises:
    UserError: as `attacks.convex.reconstruct`.

  Cost: n gradients over the data.
  """
  return solve(
    inputs.check(family, weights, intercept, x, y, **keywords), chunk
  )
