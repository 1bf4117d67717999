"""Reconstruction from fitted scikit-learn estimators, taken as they are.

What an estimator's coefficients mean is read off it by `estimators`; here its
problem is put together, solved and undone:

- The solver's end: no solver stops at a gradient of zero. The adversary fits
  the same estimator to the known records and sees what it leaves there; that is
  the noise of the release (`leftover`), and each feature's `error` follows.

- class_weight: the target's weight depends on its label, and with "balanced"
  so does everybody's, so each label is tried and the one that explains the
  weights is kept. Weights given to `fit` are not stored by estimators; who
  knows them passes `sample_weight` and `target_weight`.
- Pipeline of transformers and one of these: the attack runs on what the
  predictor saw, and the transformers are undone (`transformers`). A scaler that
  was fitted with the target among its records gives the target away by itself:
  n mean_ minus the known sum is every feature exactly, whatever the model is,
  and min, max or quantiles show each feature in which the target is extreme.
"""

import numpy as np
from scipy import sparse
from sklearn import compose, linear_model
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from informed_recon.attacks.convex import (
  candidates,
  closed_form,
  grid,
  inputs,
  leave_one_out,
  trust,
)
from informed_recon.attacks.convex.columns import Columns as Columns
from informed_recon.attacks.convex.columns import placed
from informed_recon.attacks.sklearn import huber, problems, transformers
from informed_recon.attacks.sklearn.unfolding import table, unfold
from informed_recon.types import Reconstruction, UserError


def _weighted(solve, problem, class_weight, classes, known_y):
  """Tries each label with the weights it would have had."""
  results = []
  for label in np.asarray(classes).tolist():
    by_class = problems.class_weights(class_weight, classes, known_y, label)
    if not by_class[label]:
      continue  # a record of weight zero leaves no trace
    s = np.array([by_class[c] for c in np.asarray(known_y).tolist()])
    s = s * problem.sample_weight
    # A mean-form penalty grows with the number of records, not their weight.
    chosen = problem.labels.index(label)
    results.append(
      solve(
        problem._replace(
          sample_weight=s,
          target_weight=by_class[label] * problem.target_weight,
          codes=problem.codes[chosen : chosen + 1],
          labels=[label],
        )
      )
    )
  good = [r for r in results if r.identifiable]
  best = min(good or results, key=lambda r: r.residual)
  if len(good) > 1:
    return best._replace(
      identifiable=False,
      candidates=tuple(c for r in good for c in r.candidates),
      message=f"{len(good)} labels explain the weights; see candidates",
    )
  return best


def _leak(scalers, count: int) -> str:
  """What the first scaler says by itself, where it saw the target."""
  if not scalers:
    return ""
  seen = getattr(scalers[0], "n_samples_seen_", None)
  if seen is None or np.any(np.asarray(seen) != count + 1):
    return ""
  if getattr(scalers[0], "mean_", None) is not None:
    return (
      "the scaler was fitted with the target: n mean_ minus the known records' "
      "sum gives every feature away without the model"
    )
  return (
    "the scaler was fitted with the target: it shows every feature in which "
    "the target is extreme, without the model"
  )


def reconstruct(
  estimator,
  known_x,
  known_y,
  *,
  sample_weight=None,
  target_weight=1.0,
  decimals=None,
  columns=None,
) -> Reconstruction:
  """Recovers the one record that a fitted estimator saw and the adversary not.

  Args:
    estimator: a fitted estimator of those listed in `estimators`, or a pipeline
      that ends in one; fitted on the known records and the target.
    known_x: (n, d) features of the known records, before any scaling; an array,
      a sparse matrix, or a table with the columns of the fit.
    known_y: (n,) their labels, as they were given to `fit`.
    sample_weight: (n,) weights of the known records, as given to `fit`.
    target_weight: the target's own weight.
    decimals: that the coefficients were rounded to; found out where they show
      it.
    columns: `Columns`: what is known of the target's columns, by position or
      name: values, whole numbers, one-hot groups, bounds.

  Returns:
    A `Reconstruction`, features in the units of `known_x`. Where the solver
    stopped too early for the closed form, which fits of the known records tell,
    `identifiable` is not set.

  Raises:
    UserError: the estimator is not fitted or not supported, or the records do
      not fit it.

  Cost: three fits of the estimator to the known records, or one where a fit
  takes seconds.
  """
  known_y = inputs.responses(known_y)
  given = dict(
    sample_weight=sample_weight,
    target_weight=target_weight,
    decimals=decimals,
    columns=columns,
  )
  if isinstance(estimator, compose.TransformedTargetRegressor):
    return _responses_undone(estimator, known_x, known_y, given)
  predictor, steps, x = unfold(estimator, known_x)
  raw = table(known_x)
  problem, complete = _problem(
    predictor, x, known_y, sample_weight, target_weight, decimals
  )

  def undo(found):
    if isinstance(predictor, linear_model.HuberRegressor):
      found = huber.checked(found, problem, predictor.epsilon)
    return transformers.undone(found, steps, x) if steps else found

  def solve(one):
    if columns is None:
      return undo(closed_form.solve(one))
    names = getattr(known_x, "columns", None)
    return closed_form.solve(
      one,
      placed(columns, names, raw.shape[1]),
      known_x=raw,
      undo=undo,
      features=transformers.by_column(steps, raw),
    )

  class_weight = getattr(predictor, "class_weight", None)
  if class_weight is None:
    result = solve(problem)
  else:
    result = _weighted(
      solve, problem, class_weight, predictor.classes_, known_y
    )
  if not complete and result.identifiable:
    result = trust.doubted(
      result,
      "the estimator cannot be fitted to the known records alone, so that "
      "nothing tells what its solver leaves behind",
    )
  result = grid.checked(result, raw)
  return trust.noted(result, _leak(steps, len(raw)))


def _problem(predictor, x, known_y, sample_weight, target_weight, decimals):
  """The closed form's problem with what the solver left, and whether that could
  be measured."""
  checked = problems.problem(
    predictor, x, known_y, 1, sample_weight, target_weight, decimals
  )
  weights = None if sample_weight is None else checked.sample_weight
  left = problems.leftover(predictor, x, known_y, weights)
  if left is None:
    return checked, False
  return checked._replace(leftover=left), True


def identify(
  estimator,
  known_x,
  known_y,
  candidates_x,
  candidates_y=None,
  *,
  prior=None,
  sample_weight=None,
  target_weight=1.0,
  decimals=None,
) -> candidates.Identified:
  """Which of m candidates an estimator was fitted to besides the known records.

  Args:
    estimator, known_x, known_y: as in `reconstruct`; no class weights.
    candidates_x: (m, d) their features, before any scaling.
    candidates_y: (m,) their labels, where they are known.
    prior: (m,) weights; equal by default.
    sample_weight, target_weight, decimals: as in `reconstruct`.

  Returns:
    `Identified`: a posterior over the candidates, and whether the most probable
    may be vouched for. Whatever a pipeline loses of a record does not matter.

  Raises:
    UserError: as `reconstruct`.
  """
  known_y = inputs.responses(known_y)
  predictor, steps, x = unfold(estimator, known_x, invertible=False)
  if getattr(predictor, "class_weight", None) is not None:
    raise UserError("identify wants an estimator without class weights")
  problem, complete = _problem(
    predictor, x, known_y, sample_weight, target_weight, decimals
  )
  problem = closed_form.with_rounding(problem)
  z = candidates_x
  if steps:
    z = transformers.transformed(steps, candidates_x, "the candidates")
  elif sparse.issparse(z):
    z = z.toarray()
  given = candidates.checked(problem, z, candidates_y, prior)
  found = candidates.posterior(problem, *given)
  if complete:
    return found
  return found._replace(
    identifiable=False, message="nothing tells what the solver leaves behind"
  )


def _responses_undone(estimator, known_x, known_y, given) -> Reconstruction:
  """Attacks the regressor inside, whose responses were transformed."""
  try:
    check_is_fitted(estimator)
  except NotFittedError:
    raise UserError("TransformedTargetRegressor is not fitted") from None
  if known_y.ndim != 1:
    raise UserError("TransformedTargetRegressor is read with one response")
  change = estimator.transformer_

  def ahead(y):
    return np.ravel(change.transform(np.reshape(y, (-1, 1))))

  def back(y):
    return np.ravel(change.inverse_transform(np.reshape(y, (-1, 1))))

  transformed = ahead(known_y)
  if not np.allclose(back(transformed), known_y, rtol=1e-6):
    raise UserError("the responses' transformation does not give them back")
  found = reconstruct(estimator.regressor_, known_x, transformed, **given)
  if found.y is None:
    return found
  y = float(back(found.y)[0])
  with np.errstate(all="ignore"):
    tried = transformers.alternatives(y, known_y, np.std(known_y))
    tried = [float(ahead(a)[0]) for a in tried if np.isfinite(a)]
  if found.identifiable and np.isclose(tried, found.y, rtol=1e-6).any():
    found = trust.doubted(
      found, "other responses are the same after their transformation"
    )
  return found._replace(
    y=y,
    candidates=tuple((x, float(back(v)[0])) for x, v in found.candidates),
  )


def audit(estimator, x, y) -> list[Reconstruction]:
  """What a fitted estimator gives away of each record it was fitted on.

  Args:
    estimator: as in `reconstruct`, with an intercept and no class weights.
    x: (n, d) all its training records, before any scaling.
    y: (n,) their labels.

  Returns:
    n reconstructions in the order of the records, each by an adversary who
    knows all the others.

  Raises:
    UserError: as `reconstruct`.
  """
  predictor, steps, z = unfold(estimator, x)
  if getattr(predictor, "class_weight", None) is not None:
    raise UserError("audit estimators with class weights record by record")
  if isinstance(predictor, linear_model.HuberRegressor):
    raise UserError("audit HuberRegressor record by record")
  y = inputs.responses(y)
  found = leave_one_out.solve(problems.problem(predictor, z, y, unknown=0))
  if steps:
    found = [
      transformers.undone(r, steps, np.delete(z, i, 0))
      for i, r in enumerate(found)
    ]
  return leave_one_out.checked(found, table(x))
