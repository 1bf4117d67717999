"""A fitted estimator taken apart: the predictor, and the steps before it."""

import numpy as np
from scipy import sparse
from sklearn import pipeline
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from informed_recon.attacks.sklearn import transformers
from informed_recon.types import UserError


def _columns(first, known_x) -> np.ndarray:
  """Known records as (n, d) numbers, in the columns of the fit."""
  names = getattr(known_x, "columns", None)
  fitted = getattr(first, "feature_names_in_", None)
  if names is not None and fitted is not None:
    if list(names) != list(fitted):
      wrong = next(
        (pair for pair in zip(names, fitted) if pair[0] != pair[1]),
        (len(names), len(fitted)),
      )
      raise UserError(
        "known_x must have the columns of the fit in the same order; found "
        f"{wrong[0]!r} where the fit had {wrong[1]!r}"
      )
  if known_x is None:
    raise UserError("known_x must be given")
  if isinstance(first, transformers.MIXED):
    try:
      shape = np.shape(known_x)
    except ValueError:  # ragged
      shape = (len(known_x),)
    if len(shape) != 2 or shape[1] != first.n_features_in_:
      raise UserError(
        f"known_x has shape {shape}; the pipeline was fitted on "
        f"{first.n_features_in_} columns"
      )
    return known_x
  if sparse.issparse(known_x):
    known_x = known_x.toarray()
  try:
    x = np.asarray(known_x)
    x = x if x.dtype.kind in "biuf" else np.asarray(known_x, np.float64)
  except (TypeError, ValueError):
    raise UserError(
      "known_x must be a table of numbers, one row a record"
    ) from None
  if x.ndim != 2 or x.shape[1] != first.n_features_in_:
    raise UserError(
      f"known_x has shape {x.shape}; the estimator was fitted on "
      f"{first.n_features_in_} columns"
    )
  if not np.all(np.isfinite(x)):
    raise UserError("known_x holds NaN or infinite values")
  return x


def table(known_x) -> np.ndarray:
  """Records as they were given, (n, d), in an array."""
  return np.asarray(known_x.toarray() if sparse.issparse(known_x) else known_x)


def unfold(estimator, known_x, invertible=True):
  """Checks an estimator, takes a pipeline apart and transforms the known
  records; `invertible`: its steps must lose nothing.

  Returns:
    (predictor, transformers before it, transformed known_x).

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
  steps = []
  estimator = getattr(estimator, "best_estimator_", estimator)  # of a search
  if isinstance(estimator, pipeline.Pipeline):
    *steps, estimator = _flat(estimator)
  x = _columns((steps or [estimator])[0], known_x)
  if not steps:
    return estimator, steps, x
  z = transformers.transformed(steps, x, "known_x")
  if invertible:
    transformers.check(steps, x, z)
  return estimator, steps, z


def _flat(estimator: pipeline.Pipeline) -> list:
  """Steps that do something, those of inner pipelines among them."""
  found = []
  for _, step in estimator.steps:
    if isinstance(step, pipeline.Pipeline):
      found += _flat(step)
    elif step not in (None, "passthrough"):
      found.append(step)
  return found
