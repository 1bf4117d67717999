"""The steps of a pipeline before its predictor, undone.

The attack finds what the predictor saw, z = T(x). A step is undone by its own
`inverse_transform`; of polynomial features the record's own are among them; a
`ColumnTransformer` is undone part by part. Whether that loses nothing is not
assumed: every known record must come back from T, and no other record may have
the features of the one found. The features must be a record's: a category that
is 0.4, or a product that is not that of its factors, is a check that the model
itself does not have.
"""

import numpy as np
from scipy import sparse
from sklearn import compose, impute, pipeline, preprocessing

from informed_recon.attacks.convex import missing, trust
from informed_recon.types import Reconstruction, UserError

ROUND_TRIP = 1e-6  # of a column's size, that a known record may be off
CONSISTENT = 0.03  # of a feature's size, that the answer may be off
SAME = 1e-9  # of a feature's size, by which equal features may differ
WITHIN = 5.0  # errors of a feature that an answer may be off
NO_CATEGORY = (None, "infrequent_sklearn")
MIXED = (
  compose.ColumnTransformer,
  preprocessing.OneHotEncoder,
  preprocessing.OrdinalEncoder,
)

SCALERS = (
  preprocessing.StandardScaler,
  preprocessing.MinMaxScaler,
  preprocessing.MaxAbsScaler,
  preprocessing.RobustScaler,
)


def apply(steps, x) -> np.ndarray:
  """T(x), (n, k)."""
  for step in steps:
    x = step.transform(x)
  if sparse.issparse(x):
    x = x.toarray()
  return np.asarray(x, np.float64)


def transformed(steps, x, name: str) -> np.ndarray:
  """`apply` to what a user gave; one line where it does not work."""
  try:
    return apply(steps, x)
  except (TypeError, ValueError) as error:
    raise UserError(
      f"the pipeline cannot transform {name}: {str(error).splitlines()[0]}"
    ) from None


def by_column(steps, known_x):
  """{column: value} of a record -> {feature: value}, where each step treats
  every column by itself; else None."""
  if not all(type(step) in SCALERS for step in steps):
    return None

  def features(values: dict) -> dict:
    row = np.asarray(known_x[:1], np.float64).copy()
    row[0, list(values)] = list(values.values())
    z = apply(steps, _table(steps, row))[0]
    return {j: float(z[j]) for j in values}

  return features if steps else dict


def undo(steps, z) -> np.ndarray:
  """Records (m, d) of features (m, k); of objects where columns are mixed."""
  for step in reversed(steps):
    z = _undo(step, np.asarray(z))
  return np.asarray(z)


def check(steps, known_x, z) -> None:
  """Whether every known record comes back from its features.

  Raises:
    UserError: a step cannot be undone, or loses something.
  """
  try:
    back = undo(steps, z)
  except (AttributeError, TypeError, ValueError) as error:
    raise UserError(
      f"the pipeline's steps before the predictor cannot be undone: {error}"
    ) from None
  x = np.asarray(known_x.toarray() if sparse.issparse(known_x) else known_x)
  if back.shape != x.shape:
    raise UserError(
      f"the pipeline's steps before the predictor cannot be undone: of "
      f"{x.shape[1]} columns {back.shape[1]} come back"
    )
  for j in range(x.shape[1]):
    if not _same(back[:, j], x[:, j]):
      raise UserError(
        "the pipeline's steps before the predictor cannot be undone: column "
        f"{j} does not come back as it was"
      )


def undone(result: Reconstruction, steps, z) -> Reconstruction:
  """The answer in the units of the records; `z` (n, k) are the known ones.

  A feature that comes as one of several values (a category) has an error of 0:
  it is that value, or the answer is not vouched for.
  """
  known = undo(steps, z)
  try:
    back = undo(steps, result.x[None])
    others = [(undo(steps, x[None])[0], y) for x, y in result.candidates]
    again = apply(steps, _table(steps, back))[0]
  except (ValueError, IndexError):  # NaN, or no category at all
    return trust.doubted(
      result._replace(
        x=np.full(known.shape[1], np.nan),
        error=np.full(known.shape[1], np.inf),
        candidates=(),
      ),
      "the features found are no record's",
    )
  size = np.maximum(z.std(0), 1e-3 * np.abs(z).max(0))
  size[size == 0] = 1.0
  error = None if result.error is None else errors(steps, result)
  kept = result._replace(x=back[0], error=error, candidates=tuple(others))
  if not result.identifiable:
    return kept
  if not (np.abs(again - result.x) / size).max() <= CONSISTENT:
    return trust.doubted(
      kept,
      "what the predictor saw is no record's features: the pipeline gives "
      "others for the record found",
    )
  if any(value in NO_CATEGORY for value in back[0] if not _is_number(value)):
    return trust.doubted(
      kept, "a category of the record has no name of its own"
    )
  numbers = [j for j, value in enumerate(back[0]) if _is_number(value)]
  spread = missing.column_spread(known[:, numbers].astype(np.float64))
  if error is not None and numbers:
    share = error[numbers] / spread
    if (
      not np.sqrt(np.mean(share**2)) <= trust.EXPECTED_ERROR
      or not share.max(initial=0) <= trust.WORST_ERROR
    ):
      return trust.doubted(kept, "undone, the features' errors are too large")
  slack = SAME * size
  if result.error is not None:
    slack = slack + WITHIN * result.error
  if len(result.x) < len(numbers) or _others(
    steps, back, known, numbers, spread, result.x, slack
  ):
    return trust.doubted(
      kept, "other records have the same features after the pipeline"
    )
  return kept


def alternatives(value: float, known: np.ndarray, spread: float) -> list[float]:
  """Other values of a column that a transformer might map to the same feature:
  missing, of the other sign, mirrored at the mean, or far away."""
  tried = (np.nan, -value, 2 * known.mean() - value)
  tried += (value - 3 * spread, value + 3 * spread)
  return [a for a in tried if not abs(a - value) <= 1e-6 * spread]


def _others(steps, back, known, numbers, spread, z, slack) -> bool:
  """Whether the record found, with one number in it changed, has features that
  cannot be told from z."""
  for j, width in zip(numbers, spread):
    column = known[:, j].astype(np.float64)
    for value in alternatives(float(back[0, j]), column, width):
      row = back.copy()
      row[0, j] = value
      try:
        with np.errstate(all="ignore"):
          features = apply(steps, _table(steps, row))[0]
      except (TypeError, ValueError):  # no record that can be
        continue
      if (np.abs(features - z) <= slack).all():
        return True
  return False


def errors(steps, result: Reconstruction) -> np.ndarray:
  """(d,) errors of the record, to first order from those of its features."""
  here = undo(steps, result.x[None])[0]
  moved = undo(steps, result.x + np.diag(np.nan_to_num(result.error, posinf=0)))
  found = np.zeros(len(here))
  for j, value in enumerate(here):
    if _is_number(value):
      gaps = moved[:, j].astype(np.float64) - float(value)
      found[j] = np.sqrt(np.sum(gaps**2))
  return np.where(np.isfinite(result.error).all(), found, np.inf)


def _undo(step, z: np.ndarray):
  if isinstance(step, pipeline.Pipeline):
    return undo([s for _, s in step.steps if s not in (None, "passthrough")], z)
  if isinstance(step, compose.ColumnTransformer):
    return _undo_columns(step, z)
  if isinstance(step, preprocessing.PolynomialFeatures):
    own = np.eye(step.n_features_in_, dtype=int)
    return z[:, [np.flatnonzero((step.powers_ == p).all(1))[0] for p in own]]
  if isinstance(step, impute.SimpleImputer):
    return z  # the known records have nothing to fill in, or do not come back
  if isinstance(step, preprocessing.OneHotEncoder):
    z = np.clip(np.round(z), 0, 1)  # which it takes literally
  if isinstance(step, preprocessing.OrdinalEncoder):
    z = np.round(z)
  return step.inverse_transform(z)


def _undo_columns(step: compose.ColumnTransformer, z: np.ndarray):
  """Each part's columns, put back where they were."""
  columns, missing = {}, set(range(step.n_features_in_))
  for name, part, chosen in step.transformers_:
    index = _positions(step, chosen)
    if isinstance(part, str) and part == "drop":
      continue
    block = z[:, step.output_indices_[name]]
    whole = isinstance(part, str) or not len(index)
    block = block if whole else np.asarray(_undo(part, block))
    columns |= {i: block[:, k] for k, i in enumerate(index)}
    missing -= set(index)
  if missing:
    raise ValueError(f"column {min(missing)} is dropped")
  every = [columns[i] for i in range(step.n_features_in_)]
  if all(column.dtype.kind in "biuf" for column in every):
    return np.stack(every, 1)
  out = np.empty((len(z), len(every)), object)
  for i, column in enumerate(every):
    out[:, i] = column
  return out


def _positions(step, chosen) -> list[int]:
  """Columns given by name, number, slice or mask, as numbers."""
  if callable(chosen):
    raise ValueError("columns chosen by a function")
  names = list(getattr(step, "feature_names_in_", []))
  if isinstance(chosen, str):
    return [names.index(chosen)]
  if isinstance(chosen, slice) and isinstance(chosen.start or chosen.stop, str):
    start = names.index(chosen.start) if chosen.start else 0
    stop = names.index(chosen.stop) + 1 if chosen.stop else len(names)
    return list(range(start, stop))
  if not isinstance(chosen, slice):
    chosen = np.atleast_1d(np.asarray(chosen))
    if not chosen.size:
      return []
    if chosen.dtype.kind in "OUST":
      return [names.index(name) for name in chosen]
  return np.arange(step.n_features_in_)[chosen].tolist()


def _table(steps, x: np.ndarray):
  """Records as the first step was given them: under the names of the fit."""
  names = getattr(steps[0], "feature_names_in_", None)
  if names is None:
    return x
  import pandas as pd

  return pd.DataFrame(x, columns=names).infer_objects()


def _same(back: np.ndarray, given: np.ndarray) -> bool:
  try:
    back, given = back.astype(np.float64), given.astype(np.float64)
  except (TypeError, ValueError):
    return bool(np.all(back == given))
  size = np.abs(given).max(initial=0) or 1.0
  return bool(np.all(np.abs(back - given) <= ROUND_TRIP * size))


def _is_number(value) -> bool:
  return isinstance(value, (int, float, np.integer, np.floating))
