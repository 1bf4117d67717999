"""What is known of the missing record's columns: it sharpens and checks.

The missing gradient is M = r (x, 1)^T but for errors of known size e. A column
whose value v is known tells r as the intercept does (whose value is 1), so that
by weighted least squares

    r = sum_J v_j M_j / e_j^2 / sum_J v_j^2 / e_j^2,

J the known columns and the intercept, and the other columns follow from r.
Whole numbers and one-hot columns are known once their error leaves one value
only. A model without intercept, of whose record only the direction is
determined, has its length from one known column.

Each column is held against its value before it is used. That it agrees by
chance has probability 2 * slack / unit; where all together have less than
`CHANCE`, they are a check. Columns that the others imply count once, and those
that are the same in all known records not at all: they agree whatever the
weights are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from informed_recon.attacks.convex import glm, inputs, missing, trust
from informed_recon.types import Reconstruction, UserError

WITHIN = 5.0  # errors that a column may be off
EXACT = 1e-9  # of a column's size, that rounding may put it off
CLEAR = 0.25  # largest slack at which one whole number alone is possible
CHANCE = 1e-4  # that a wrong record agrees with all that is known
NEW = 1e-6  # share of a column that others must not imply


class Columns(NamedTuple):
  """What the adversary knows of the record; columns by position, or by name
  where the known records are a table with names."""

  known: Mapping[Any, float] = {}  # column -> value
  whole: Sequence = ()  # columns of whole numbers
  one_hot: Sequence[Sequence] = ()  # groups: one column is 1, the others are 0
  bounds: Mapping[Any, tuple] = {}  # column -> (low, high)


def placed(columns: Columns, names, count: int) -> Columns:
  """The same by position, checked.

  Args:
    names: the columns' names, or None.
    count: how many there are.
  """
  where = {} if names is None else {name: j for j, name in enumerate(names)}

  def position(column) -> int:
    if column in where:
      return where[column]
    whole = isinstance(column, (int, np.integer)) and 0 <= column < count
    if not whole or isinstance(column, bool):
      raise UserError(f"columns: there is no column {column!r}")
    return int(column)

  def numbers(name, value, size):
    try:
      value = np.asarray(value, np.float64)
    except (TypeError, ValueError):
      value = np.array(np.nan)
    if value.shape != size or np.isnan(value).any():
      raise UserError(f"columns: {name} wants numbers, got {value!r}")
    return value

  if not isinstance(columns, Columns):
    raise UserError("columns must be an attacks.convex.Columns(...)")
  try:
    placed = Columns(
      {
        position(c): float(numbers("known", v, ()))
        for c, v in columns.known.items()
      },
      [position(c) for c in columns.whole],
      [[position(c) for c in group] for group in columns.one_hot],
      {
        position(c): tuple(numbers("bounds", v, (2,)).tolist())
        for c, v in columns.bounds.items()
      },
    )
  except (AttributeError, TypeError):
    raise UserError(
      "columns: known and bounds are dicts by column, whole is a list of "
      "columns, one_hot a list of such lists"
    ) from None
  for low, high in placed.bounds.values():
    if low > high:
      raise UserError(f"columns: bounds want low <= high, got {(low, high)}")
  return placed


def sharpened(
  problem: inputs.Problem,
  found: Reconstruction,
  columns: Columns,
  known_x: np.ndarray,
  undo: Callable = lambda found: found,
  features: Callable | None = dict,
) -> Reconstruction:
  """The answer, held against what is known of its columns and made better.

  Args:
    problem: whose errors of M are all in `leftover`.
    found: the closed form's answer to it.
    columns: of the record, from `placed`.
    known_x: (n, d) the known records, numbers where `columns` speaks of them.
    undo: an answer of the problem -> the record (a pipeline's steps undone).
    features: {column: value} of the record -> {feature: value} of the problem;
      None where one column makes several features: then nothing is sharpened.

  Returns:
    The record; `undo` was applied.
  """
  fixed, faults, slacks = {}, [], {}
  if problem.intercept is None and not found.identifiable:
    # One column gives length and sign, and is checked by nothing; without one,
    # what is whole in a record is whole in its mirror image.
    first = max(
      columns.known, key=lambda j: abs(columns.known[j]), default=None
    )
    if features is None or not columns.known.get(first):
      return undo(found)
    fixed[first] = columns.known[first]
    found = _solved(problem, features(fixed))
  record = undo(found)
  while not faults and any(v == v for v in record.x):  # not all NaN
    news = _settled(columns, record, known_x, fixed, faults, slacks)
    fixed |= news
    if not news or features is None:
      break
    found = _solved(problem, features(fixed))
    record = undo(found)
  chance = _chance(columns, slacks, known_x)
  if fixed and not faults and chance <= CHANCE and features:
    # The model's own check may be as loose as the errors are.
    loose = problem._replace(tolerance=trust.TOLERANCE_SEVERAL)
    record = undo(_solved(loose, features(fixed), checked=True))
  x = record.x.copy()
  for j, value in fixed.items():
    x[j] = value
  for j, (low, high) in columns.bounds.items():
    slack = slack_of(record, known_x[:, j], j)
    if np.isnan(x[j]):  # lost: nothing to hold against them
      continue
    if not low - slack <= x[j] <= high + slack:
      faults.append(f"column {j} would be {x[j]:.6g}, outside its bounds")
    x[j] = np.clip(x[j], low, high)
  record = record._replace(x=x, checked=record.checked or chance <= CHANCE)
  return trust.doubted(record, *faults)


def slack_of(record: Reconstruction, column, j: int) -> float:
  """How far the record's column j may be off."""
  error = np.inf if record.error is None else record.error[j]
  try:
    size = np.abs(np.asarray(column, np.float64)).max(initial=0) or 1.0
  except (TypeError, ValueError):
    raise UserError(f"columns: column {j} does not hold numbers") from None
  return float(WITHIN * error + EXACT * size)


def _settled(columns, record, known_x, fixed, faults, slacks) -> dict:
  """Values of columns that are certain now; notes slacks, and faults."""
  news = {}
  groups = {j: group for group in columns.one_hot for j in group}
  for j in {*columns.known, *columns.whole, *groups} - set(fixed):
    slack = slack_of(record, known_x[:, j], j)
    if j in columns.known:
      value, kind = columns.known[j], f"not {columns.known[j]:.6g}"
    elif not slack <= CLEAR:
      continue
    elif j in groups:
      value, kind = float(np.clip(round(record.x[j]), 0, 1)), "neither 0 nor 1"
    else:
      value, kind = float(round(record.x[j])), "no whole number"
    if abs(record.x[j] - value) > slack:
      faults.append(f"column {j} would be {record.x[j]:.6g}, {kind}")
    news[j], slacks[j] = value, slack
  every = fixed | news
  for group in columns.one_hot:
    if all(j in every for j in group) and sum(every[j] for j in group) != 1:
      faults.append(f"columns {list(group)} would not be one-hot")
  return news


def _chance(columns, slacks, known_x) -> float:
  """Probability that a wrong record agrees with all columns."""
  chance = 1.0
  known = {
    j: known_x[:, j].astype(float) for j in sorted(slacks, key=slacks.get)
  }
  for j in independent(known):
    unit = known[j].std() if j in columns.known else 1.0
    chance *= min(1.0, 2 * slacks[j] / unit)
  return chance


def independent(columns: Mapping[int, np.ndarray]) -> list[int]:
  """Those of the columns (n,) that neither are constant nor follow from a
  constant and the ones before them."""
  basis, found = [], []
  for j, column in columns.items():
    spread = column.std()
    if not spread > 1e-12 * np.abs(column).max(initial=0):
      continue
    own = (column - column.mean()) / spread
    for other in basis:
      own = own - other * (other @ own) / (other @ other)
    if own @ own > NEW * len(own):
      basis.append(own)
      found.append(j)
  return found


def _solved(problem, fixed: Mapping[int, float], checked=False):
  """The closed form's answer, given the values of some features."""
  parts = jax.tree.map(lambda a: a / problem.target_weight, missing.of(problem))
  (m, m0), (noise, noise0) = parts
  left, left0 = (a / problem.target_weight for a in problem.leftover)
  error = np.maximum(np.hypot(noise, left), 1e-300)
  error0 = np.maximum(np.hypot(noise0, left0), 1e-300)
  lost = (problem.l1 + problem.l21 > 0) & (problem.weights == 0)
  trusted = np.where(lost, 0.0, error**-2.0)  # (K, d)
  at, value = list(fixed), np.array(list(fixed.values()))
  square = trusted[:, at] @ value**2
  total = (trusted * m)[:, at] @ value
  if problem.intercept is not None:
    square, total = square + error0**-2.0, total + m0 / error0**2
  r = total / square
  weight = r**2 @ trusted
  gone = weight == 0
  weight = np.where(gone, 1.0, weight)
  x = r @ (trusted * m) / weight
  # By the errors of M, and by those of r.
  share = x * r[:, None] * trusted / weight
  own = np.sqrt(1 / weight + np.sum(share**2 / square[:, None], axis=0))
  known = np.zeros(len(x), bool)
  known[at] = True
  x[at] = value
  with jax.enable_x64(True):
    h = problem.weights @ np.where(gone & ~known, 0.0, x) + problem.bias
    y, code, link = glm.explain(
      problem.family, h, r, problem.codes, problem.whole
    )
  scale = np.maximum(missing.column_scale(problem.x), np.abs(x))
  size = scale * np.linalg.norm(r)

  def relative(a):
    a = np.linalg.norm(np.where(lost, 0.0, a), axis=0) / size
    return np.max(a[~known], initial=0.0)

  x, own = (np.where(gone & ~known, np.nan, a) for a in (x, own))
  found = trust.verdict(
    problem,
    x,
    *map(np.asarray, (y, code, link)),
    relative(m - r[:, None] * np.nan_to_num(x)),
    relative(noise + np.abs(np.nan_to_num(x)) * np.linalg.norm(noise0)),
    np.where(known, np.nan, own),
    checked=checked or None,
  )
  return found._replace(error=np.where(known, 0.0, own))
