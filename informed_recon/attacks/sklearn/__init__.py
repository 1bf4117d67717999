"""Reconstruction from fitted scikit-learn estimators, taken as they are.

What an estimator's coefficients mean is read off it by `sklearn_estimators`;
here its problem is put together, solved and undone:

- class_weight: the target's weight depends on its label, and with "balanced"
  so does everybody's, so each label is tried and the one that explains the
  weights is kept. Weights given to `fit` are not stored by estimators; these
  are taken to be 1.
- Pipeline of scalers and one of these: the attack runs on scaled features and
  the scaling is undone. A scaler that was fitted with the target among its
  records gives the target away by itself: n mean_ minus the known sum is every
  feature exactly, whatever the model is, and min, max or quantiles show each
  feature in which the target is extreme.
"""

import numpy as np
from sklearn import pipeline, preprocessing
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from informed_recon.attacks.convex import closed_form, inputs, leave_one_out
from informed_recon.attacks.sklearn.estimators import read
from informed_recon.types import Reconstruction, UserError

_SCALERS = (
  preprocessing.StandardScaler,
  preprocessing.MinMaxScaler,
  preprocessing.MaxAbsScaler,
  preprocessing.RobustScaler,
)


def _signs(classes, known_y, n_outputs):
  """RidgeClassifier's responses: one of K is 1 and the others -1."""
  unseen = np.setdiff1d(np.unique(known_y), classes)
  if unseen.size:
    raise UserError(f"known_y has labels the estimator lacks: {unseen[:5]}")
  codes = 2.0 * np.eye(len(classes)) - 1.0
  codes = codes[:, 1:] if n_outputs == 1 else codes
  return codes[np.searchsorted(classes, known_y)], codes


def problem(predictor, x, known_y, unknown: int = 1) -> inputs.Problem:
  """What the closed form is to solve for a predictor from `unfold`.

  `unknown` records beside the known ones were fitted, which counts where a
  penalty is per record. Class weights are left out; they depend on the
  target's label.
  """
  released, weights, intercept, classes = read(predictor)
  y = np.asarray(known_y)
  keywords = {}
  beyond = {}
  if released.family == "linear" and classes is not None:
    y, codes = _signs(classes, y, len(weights))
    keywords["label_set"] = codes
    beyond["labels"] = np.asarray(classes).tolist()
  elif classes is not None:
    keywords["label_set"] = np.asarray(classes).tolist()
  checked = inputs.check(released.family, weights, intercept, x, y, **keywords)
  n = len(x) + unknown if released.mean_form else 1
  return checked._replace(
    l2=released.l2 * n,
    l1=released.l1 * n,
    l2_intercept=released.l2_intercept,
    **beyond,
  )


def _class_weights(class_weight, classes, known_y, label):
  """Weight of each class when the target's label is `label`."""
  if class_weight == "balanced":
    y = np.append(known_y, label)
    counts = np.array([np.sum(y == c) for c in classes])
    weights = len(y) / (len(classes) * np.maximum(counts, 1))
    return dict(zip(np.asarray(classes).tolist(), weights, strict=True))
  return {c: class_weight.get(c, 1.0) for c in np.asarray(classes).tolist()}


def _weighted(problem, class_weight, classes, known_y):
  """Tries each label with the weights it would have had."""
  results = []
  for label in np.asarray(classes).tolist():
    by_class = _class_weights(class_weight, classes, known_y, label)
    if not by_class[label]:
      continue  # a record of weight zero leaves no trace
    s = np.array([by_class[c] for c in np.asarray(known_y).tolist()])
    # A mean-form penalty grows with the number of records, not their weight.
    chosen = problem.labels.index(label)
    results.append(
      closed_form.solve(
        problem._replace(
          sample_weight=s,
          target_weight=by_class[label],
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


def _unscale(result: Reconstruction, scalers) -> Reconstruction:
  def undo(x):
    x = np.asarray(x)[None]
    for scaler in reversed(scalers):
      x = scaler.inverse_transform(x)
    return x[0]

  return result._replace(
    x=undo(result.x),
    candidates=tuple((undo(x), y) for x, y in result.candidates),
  )


def _leak(scalers, known_x) -> str:
  """What the first scaler says by itself, where it saw the target."""
  if not scalers:
    return ""
  seen = getattr(scalers[0], "n_samples_seen_", None)
  if seen is None or np.any(np.asarray(seen) != len(known_x) + 1):
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


def unfold(estimator, known_x):
  """Checks an estimator, takes a pipeline apart and scales the known records.

  Returns:
    (predictor, scalers, scaled known_x).

  Raises:
    UserError: not fitted, not supported, or known_x has wrong columns.
  """
  try:
    check_is_fitted(estimator)
  except NotFittedError:
    raise UserError(f"{type(estimator).__name__} is not fitted") from None
  except TypeError:
    raise UserError(
      f"not a fitted scikit-learn estimator: {type(estimator).__name__}"
    ) from None
  scalers = []
  if isinstance(estimator, pipeline.Pipeline):
    steps = [s for _, s in estimator.steps if s not in (None, "passthrough")]
    *scalers, estimator = steps
    for scaler in scalers:
      if not isinstance(scaler, _SCALERS):
        raise UserError(
          f"pipeline step {type(scaler).__name__} cannot be undone; supported "
          f"are {', '.join(c.__name__ for c in _SCALERS)}"
        )
  x = np.asarray(known_x)
  if x.ndim != 2 or x.shape[1] != (scalers or [estimator])[0].n_features_in_:
    raise UserError(
      f"known_x has shape {x.shape}; the estimator was fitted on "
      f"{(scalers or [estimator])[0].n_features_in_} columns"
    )
  if x.dtype.kind not in "biuf" or not np.all(np.isfinite(x)):
    raise UserError("known_x holds NaN, infinite values or no numbers")
  for scaler in scalers:
    x = scaler.transform(x)
  return estimator, scalers, x


def reconstruct(estimator, known_x, known_y) -> Reconstruction:
  """Recovers the one record that a fitted estimator saw and the adversary not.

  Args:
    estimator: a fitted estimator of those named above, fitted on the known
      records and the target.
    known_x: (n, d) features of the known records, before any scaling.
    known_y: (n,) their labels, as they were given to `fit`.

  Returns:
    A `Reconstruction`, features in the units of `known_x`. At scikit-learn's
    default tolerance most solvers stop too early for the closed form; then
    `identifiable` is not set.

  Raises:
    UserError: the estimator is not fitted or not supported, or the records do
      not fit it.
  """
  predictor, scalers, x = unfold(estimator, known_x)
  known_y = np.asarray(known_y)
  checked = problem(predictor, x, known_y)
  class_weight = getattr(predictor, "class_weight", None)
  if class_weight is None:
    result = closed_form.solve(checked)
  else:
    result = _weighted(checked, class_weight, predictor.classes_, known_y)
  if scalers:
    result = _unscale(result, scalers)
  notes = [result.message, _leak(scalers, known_x)]
  return result._replace(message="; ".join(n for n in notes if n))


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
  predictor, scalers, scaled = unfold(estimator, x)
  if getattr(predictor, "class_weight", None) is not None:
    raise UserError("audit estimators with class weights record by record")
  found = leave_one_out.solve(problem(predictor, scaled, y, unknown=0))
  return [_unscale(r, scalers) if scalers else r for r in found]
