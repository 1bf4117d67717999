"""HuberRegressor: what its scale says of the record.

It minimises sum_i (sigma + s_i H(z_i) sigma) + alpha |w|^2, z = (h - y) / sigma
(Owen 2007), so that its derivative by sigma is zero as well:

    sum_i s_i min(|z_i|, epsilon)^2 = n.

That is one equation more than unknowns, which checks the answer. A record
further off than epsilon is one of a loss that is straight there: its features
are found, of its response only on which side it lies.
"""

import numpy as np

from informed_recon.attacks.convex import inputs, trust
from informed_recon.types import Reconstruction

# Errors of the target's term in the sum that it may be off, and the largest
# such slack that is a check (the term lies between 0 and epsilon^2).
WITHIN, CHECKS = 5.0, 1e-2


def checked(
  found: Reconstruction, problem: inputs.Problem, epsilon: float
) -> Reconstruction:
  """The closed form's answer, compared with what the scale says of the record.

  Args:
    found: the answer.
    problem: what it answers.
    epsilon: HuberRegressor's own.

  Returns:
    `found`, withdrawn where the two disagree; `checked` where they agree so
    closely that this is a proof; `y` NaN where the record is an outlier.
  """
  if problem.intercept is None or np.isnan(found.x).all():
    return found
  x = np.nan_to_num(found.x)  # a lost feature has no weight
  predicted = problem.weights[0] @ x + problem.intercept[0]
  z = float(predicted - found.y / problem.unit)
  # The derivative by the scale is left at about what that by the intercept is.
  left = float(np.max(problem.leftover[1], initial=0.0)) + 1e-9
  left *= WITHIN / problem.target_weight
  beyond = abs(z) >= epsilon - left
  h = problem.x @ problem.weights[0] + problem.intercept[0]
  terms = np.minimum(np.abs(h - problem.y[:, 0]), epsilon) ** 2
  own = len(terms) + 1 - problem.sample_weight @ terms
  gap = abs(own / problem.target_weight - min(abs(z), epsilon) ** 2)
  slack = 2 * epsilon * left
  if problem.decimals is not None or not np.isfinite(gap):
    slack = np.inf
  if beyond:
    found = trust.noted(
      found._replace(y=np.nan),
      "the response lies further off than epsilon scales; how far is not told",
    )
  if not gap <= slack:
    return trust.doubted(
      found,
      "the scale is not that of the known records and this one: the weights "
      "are not at the optimum, or records were weighted",
    )
  if found.identifiable and slack <= CHECKS:
    found = found._replace(checked=True)
  return found
