"""What the closed-form attack is given, checked and in one common shape."""

from typing import Any, NamedTuple

import numpy as np

from informed_recon.attacks.convex import glm
from informed_recon.types import UserError

MOST_DECIMALS = 10  # of coefficients that count as rounded for publication


class Problem(NamedTuple):
  """One released model (or B of them) and what the adversary knows of it."""

  family: glm.Family
  weights: np.ndarray  # (K, d) or (B, K, d) float64
  intercept: np.ndarray | None  # (K,) or (B, K) float64; None: no intercept
  x: np.ndarray  # (n, d) float64, features of the fixed set
  y: np.ndarray  # (n, K) float64, responses as `glm` encodes them
  sample_weight: np.ndarray  # (n,) float64
  target_weight: float
  l2: float  # of the weights, sum form
  l1: float  # of the weights, sum form
  l21: float  # of each feature's norm over the outputs, sum form
  l2_intercept: float
  codes: np.ndarray  # (A, K) admissible responses, encoded; (0, K): any
  labels: list[Any]  # their A names
  whole: bool  # the known responses are whole numbers
  norm: float | None  # known norm of the target's features
  precision: float  # unit roundoff of the released weights
  decimals: int | None  # that all released weights are rounded to, if any
  unit: float = 1.0  # that weights, intercept and responses were divided by
  tolerance: float | None = None  # of the self-check, where another follows
  # (K, d) and (K,): the gradient that the solver leaves at its end, as measured
  leftover: tuple[Any, Any] = (0.0, 0.0)

  @property
  def penalty(self) -> tuple:
    """Strengths, as `missing.gradient` takes them."""
    return self.l2, self.l1, self.l21, self.l2_intercept

  @property
  def bias(self) -> np.ndarray:
    """The intercept, zeros where there is none."""
    if self.intercept is None:
      return np.zeros(self.weights.shape[:-1])
    return self.intercept

  @property
  def spacing(self) -> float:
    """Standard deviation of a weight's rounding to decimals."""
    if self.decimals is None:
      return 0.0
    return 10.0**-self.decimals / 12**0.5 / self.unit

  def divided(self, unit: float) -> "Problem":
    """The same in another unit of weights, intercept and responses."""
    if unit == 1:
      return self
    intercept = None if self.intercept is None else self.intercept / unit
    return self._replace(
      weights=self.weights / unit,
      intercept=intercept,
      y=self.y / unit,
      whole=False,
      unit=unit,
    )

  @property
  def redundant(self) -> bool:
    """Whether anything is left over to check an answer by."""
    several = self.weights.shape[-2] > 1
    if self.intercept is None:
      return several
    return several or bool(len(self.codes)) or self.whole or bool(self.norm)


def floats(name: str, value) -> np.ndarray:
  if value is None:
    raise UserError(f"{name} must be given")
  try:
    array = np.asarray(value, dtype=np.float64)
  except (TypeError, ValueError):
    raise UserError(f"{name} must be numbers") from None
  if not np.all(np.isfinite(array)):
    raise UserError(f"{name} holds NaN or infinite values")
  return array


def responses(known_y) -> np.ndarray:
  """Labels or responses, (n,) or (n, K), one row a known record."""
  if known_y is None:
    raise UserError("known_y must be given")
  try:
    y = np.asarray(known_y)
  except ValueError:  # ragged
    y = np.array(None)
  if not y.ndim:
    raise UserError("known_y must list one response a known record")
  return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _listed(name: str, value) -> list:
  try:
    return list(value)
  except TypeError:
    raise UserError(f"{name} must be a list, got {value!r}") from None


def number(name: str, value, *, positive: bool = False) -> float:
  array = floats(name, value)
  if array.size != 1 or array.item() < 0 or (positive and array.item() == 0):
    kind = "a positive" if positive else "a non-negative"
    raise UserError(f"{name} must be {kind} number, got {value!r}")
  return array.item()


def _decimals(weights, intercept) -> int | None:
  """The fewest decimals that all weights are rounded to; None: not rounded."""
  values = np.concatenate([np.ravel(weights), np.ravel(intercept)])
  for k in range(MOST_DECIMALS + 1):
    if np.all(values == np.round(values, k)):
      # Zeros, or a number or two, may be round by themselves.
      several = np.sum(np.abs(values) > 10.0**-k) > 1
      return k if k and several else None
  return None


def _classes(y: np.ndarray, n_classes: int, label_set) -> np.ndarray:
  """Names of the classes, in the order of the model's outputs."""
  if label_set is not None:
    label_set = _listed("label_set", label_set)
    classes = np.array([_scalar("each of label_set", c) for c in label_set])
  elif y.dtype.kind in "biuf" and np.all(
    np.isin(y, np.arange(n_classes, dtype=np.float64))
  ):
    classes = np.arange(n_classes)
  else:
    classes = np.unique(y)
  if len(np.unique(classes)) != n_classes or len(classes) != n_classes:
    raise UserError(
      f"the model tells {n_classes} classes apart but "
      f"{'label_set' if label_set is not None else 'known_y'} has "
      f"{len(np.unique(classes))}; give all of them, in the order of the "
      "model's outputs, as label_set"
    )
  unseen = np.setdiff1d(np.unique(y), classes)
  if unseen.size:
    raise UserError(f"known_y has labels that label_set lacks: {unseen[:5]}")
  return classes


def _scalar(name: str, value):
  """One label, given as it is or in a list or array of length one."""
  array = np.asarray(value, object)
  if array.size != 1:
    raise UserError(f"{name} must be one label, got {value!r}")
  return array.item()


def _encode(family: glm.Family, indices: np.ndarray, n_outputs: int):
  """Class indices (m,) to the responses (m, K) of `glm`."""
  if n_outputs == 1:
    y = (indices == 1).astype(np.float64)[:, None]
  else:
    y = np.eye(n_outputs)[indices]
  return 2.0 * y - 1.0 if family is glm.SQUARED_HINGE else y


def _class_responses(family, y, n_outputs, label_set, known_label):
  if y.ndim != 1:
    raise UserError(f"known_y must have one label a record, got {y.shape}")
  if y.dtype.kind == "f" and not np.all(np.isfinite(y)):
    raise UserError("known_y holds NaN or infinite values")
  try:
    classes = _classes(y, max(n_outputs, 2), label_set)
  except TypeError:  # they cannot be put in order
    raise UserError("known_y must hold labels of one kind") from None
  where = {label: i for i, label in enumerate(classes.tolist())}
  encoded = _encode(
    family, np.array([where[v] for v in y.tolist()], dtype=int), n_outputs
  )
  allowed = list(range(len(classes)))
  if known_label is not None:
    known_label = _scalar("known_label", known_label)
    if known_label not in where:
      raise UserError(
        f"known_label {known_label!r} is none of the classes {classes.tolist()}"
      )
    allowed = [where[known_label]]
  codes = _encode(family, np.array(allowed), n_outputs)
  return encoded, codes, [classes.tolist()[i] for i in allowed], False


def _real_responses(family, y, n_outputs, label_set, known_label):
  y = floats("known_y", y)
  if y.ndim == 1 and n_outputs == 1:
    y = y[:, None]
  y = y + 0.0  # 0.0 in place of -0.0
  if y.ndim != 2 or y.shape[1] != n_outputs:
    raise UserError(
      f"known_y has shape {y.shape}, but the model has {n_outputs} outputs"
    )
  if np.any(y < family.minimum):
    raise UserError(f"known_y holds responses below {family.minimum:g}")
  codes = np.zeros((0, n_outputs))
  if known_label is not None:
    codes = floats("known_label", known_label).reshape(1, -1)
  elif label_set is not None:
    codes = floats("label_set", _listed("label_set", label_set))
    codes = codes[:, None] if codes.ndim == 1 else codes
  if codes.shape[1] != n_outputs:
    raise UserError(
      f"a response has {n_outputs} numbers, known_label or label_set gives "
      f"{codes.shape[1]}"
    )
  labels = [c.item() if n_outputs == 1 else c for c in codes]
  whole = bool(y.size) and bool(np.all(y == np.round(y)))
  return y, codes, labels, whole


def weights_of(sample_weight, target_weight, count: int):
  """(n,) weights of the known records and the target's own, checked."""
  if sample_weight is None:
    sample_weight = np.ones(count)
  sample_weight = floats("sample_weight", sample_weight)
  if sample_weight.shape != (count,) or np.any(sample_weight < 0):
    raise UserError(
      f"sample_weight must be {count} non-negative numbers, one a known record"
    )
  return sample_weight, number("target_weight", target_weight, positive=True)


def check(
  family: str | glm.Family,
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
  batched: bool = False,
) -> Problem:
  """Checks the attack's arguments; see `convex.reconstruct` for them.

  `columns` is here for attacks that do not take them.

  Raises:
    UserError: something does not fit; one line says what.
  """
  if columns is not None:
    raise UserError("columns are taken by reconstruct and reconstruct_many")
  member = family
  if not isinstance(family, glm.Family):
    member = glm.get(family, link)
  rank = 3 if batched else 2
  released, weights = weights, floats("weights", weights)
  dtype = np.asarray(released).dtype
  if weights.ndim == rank - 1:
    weights = weights[..., None, :]
  if weights.ndim != rank or 0 in weights.shape:
    raise UserError(f"weights have shape {weights.shape}, not (d,) or (K, d)")
  n_outputs, d = weights.shape[-2:]
  if member is glm.SOFTMAX and n_outputs < 2:
    raise UserError("softmax needs weights (K, d) with K > 1; use logistic")
  if n_outputs > 1 and member not in glm.SEVERAL_OUTPUTS:
    raise UserError(f"such a model has one output, weights have {n_outputs}")
  if intercept is not None:
    intercept = floats("intercept", intercept)
    if intercept.size != weights.size // d:
      raise UserError(
        f"intercept has {intercept.size} values for {weights.size // d} outputs"
      )
    intercept = intercept.reshape(weights.shape[:-1])

  x = floats("known_x", known_x)
  if x.ndim != 2 or x.shape[1] != d:
    raise UserError(
      f"known_x has shape {x.shape}; the weights want (n, {d}), one column a "
      "feature"
    )
  known_y = responses(known_y)
  if len(known_y) != len(x):
    raise UserError(f"known_x has {len(x)} records, known_y {len(known_y)}")
  encoded = _class_responses if member.response is None else _real_responses
  y, codes, labels, whole = encoded(
    member, known_y, n_outputs, label_set, known_label
  )

  sample_weight, target_weight = weights_of(
    sample_weight, target_weight, len(x)
  )
  l2 = number("l2", l2)
  return Problem(
    family=member,
    weights=weights,
    intercept=intercept,
    x=x,
    y=y,
    sample_weight=sample_weight,
    target_weight=target_weight,
    l2=l2,
    l1=0.0,
    l21=0.0,
    l2_intercept=l2 if penalise_intercept else 0.0,
    codes=codes,
    labels=labels,
    whole=whole,
    norm=(
      None
      if known_norm is None
      else number("known_norm", known_norm, positive=True)
    ),
    precision=(
      float(np.finfo(dtype).eps) / 2 if dtype.kind == "f" else 2.0**-53
    ),
    decimals=(
      _decimals(weights, 0.0 if intercept is None else intercept)
      if decimals is None
      else int(number("decimals", decimals))
    ),
  )
