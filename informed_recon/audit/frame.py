"""Records of any shape and scale as vectors that a search can move in.

A record (x, y) becomes a vector u of order 1: its features, shifted and scaled,
and behind them its response where that is a real one. A response with few
different values, such as a class, is not searched for but tried.
"""

from typing import Any, NamedTuple

import numpy as np

from informed_recon.types import UserError

MOST_LABELS = 100  # more different labels than this are real responses
NUDGE = 0.1  # scales by which a start is moved
RESPONSES = 3  # parts of the range of a real response, to begin from each


class Frame(NamedTuple):
  """The way from records to vectors and back; u = (x - center) / scale."""

  shape: tuple[int, ...]  # of the features of one record
  response: tuple[int, ...]  # of its label or response
  center: np.ndarray  # (d,) or (d + r,), float32
  scale: np.ndarray  # likewise
  labels: np.ndarray | None  # (C, *response) to try; None: real responses
  bounds: tuple[float, float] | None  # of u, for images; one center, one scale

  @property
  def features(self) -> int:
    return int(np.prod(self.shape, dtype=int))

  @property
  def limits(self) -> tuple[float, float]:
    """The bounds of u, infinite where there are none."""
    return self.bounds or (-np.inf, np.inf)

  def others(self, label) -> np.ndarray:
    """The labels to try but this one; none for real responses."""
    if self.labels is None:
      return np.empty((0, *self.response), np.float32)
    flat = self.labels.reshape(len(self.labels), -1)
    return self.labels[(flat != np.ravel(label)).any(1)]

  def pack(self, x, y) -> np.ndarray:
    """Records (m, *shape), (m, *response) -> (m, len(center)) float32."""
    rows = np.asarray(x, np.float64).reshape(len(x), -1)
    if self.labels is None:
      rows = np.hstack([rows, np.asarray(y, np.float64).reshape(len(x), -1)])
    return ((rows - self.center) / self.scale).astype(np.float32)

  def unpack(self, u, label):
    """One vector and its label -> (x, y), in jax or numpy."""
    row = u * self.scale + self.center
    x = row[: self.features].reshape(self.shape)
    if self.labels is None:
      label = row[self.features :].reshape(self.response)
    return x, label


def check(x, y) -> tuple[np.ndarray, np.ndarray]:
  """The records as arrays.

  Raises:
    UserError: what they are cannot be audited.
  """
  x, y = (np.asarray(a) for a in (x, y))
  for name, a in (("x", x), ("y", y)):
    if a.dtype.kind not in "fiub":
      raise UserError(f"{name} must hold numbers, got {a.dtype}; encode it")
    if not np.isfinite(a).all():
      raise UserError(f"{name} holds values that are not finite; remove them")
  if x.ndim < 2 or len(x) != len(y):
    raise UserError(
      f"x must be (n, ...) and y (n, ...), got {x.shape} and {y.shape}"
    )
  if len(x) < 8:
    raise UserError(f"an audit needs at least 8 records, got {len(x)}")
  return x, y


def make(x: np.ndarray, y: np.ndarray) -> Frame:
  """A frame in which no single record decides: scales leave out the farthest
  record of every feature."""
  labels = np.unique(y, axis=0)
  few = len(labels) <= min(MOST_LABELS, max(2, len(y) // 3))
  classes = few and (y.dtype.kind != "f" or np.all(labels == np.rint(labels)))
  rows = x.reshape(len(x), -1).astype(np.float64)
  bounds = None
  if x.ndim >= 3 and rows.min() >= 0:
    center, scale, bounds = _image(rows)
  else:
    center, scale = _robust(rows)
  scale = np.broadcast_to(scale, center.shape)
  if not classes:
    response = _robust(y.reshape(len(y), -1).astype(np.float64))
    center = np.concatenate([center, response[0]])
    scale = np.concatenate([scale, response[1]])
    if bounds:  # Those of images do not hold for a response.
      bounds = None
  return Frame(
    x.shape[1:],
    y.shape[1:],
    center.astype(np.float32),
    scale.astype(np.float32),
    labels if classes else None,
    bounds,
  )


def _image(rows: np.ndarray):
  """Center and scale of all pixels alike, and their bounds in it. A range that
  images are usually given in is one only where they fill it: a scale far above
  the data's own would let wrong records pass for right."""
  low, high = rows.min(), rows.max()
  zero = np.zeros(rows.shape[1])
  if 0.5 < high <= 1:
    return zero, 1.0, (0.0, 1.0)
  if 64 < high <= 255 and (rows == np.rint(rows)).all():
    return zero, 255.0, (0.0, 1.0)
  center, scale = _robust(rows.reshape(-1, 1))
  low, high = (np.array([low, high]) - center) / scale
  return zero + center, scale, (float(low), float(high))


def _robust(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  center = np.median(rows, 0)
  square = np.square(rows - center)
  count = len(rows)
  scale = np.sqrt((square.sum(0) - square.max(0)) / (count - 1))
  live = scale > 1e-12
  usual = np.median(scale[live]) if live.any() else 1.0
  return center, np.where(live, scale, usual)


class Starts(NamedTuple):
  """Points to search from, for every label or response."""

  frame: Frame
  u: np.ndarray  # (n, len(center)) all records
  y: np.ndarray  # (n, *response)
  seed: int

  def __call__(self, i: int, turn: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (C, .) for record i and their labels, from the other records: in
    turn 0 the mean of each label, then a record of each, moved."""
    others = np.delete(np.arange(len(self.u)), i)
    if self.frame.labels is None:
      response = self.u[others, self.frame.features]
      parts = np.array_split(np.argsort(response), RESPONSES)
      groups = [others[part] for part in parts]
      labels = np.zeros((RESPONSES, *self.frame.response), np.float32)
    else:
      labels, flat = self.frame.labels, self.y[others].reshape(len(others), -1)
      groups = [others[(flat == np.ravel(a)).all(1)] for a in labels]
    rng = np.random.default_rng((self.seed, i, turn))
    rows = []
    for group in groups:
      group = group if len(group) else others
      if turn == 0:
        rows.append(self.u[group].mean(0))
      else:
        rows.append(self._moved(self.u[rng.choice(group)], rng))
    return np.stack(rows).astype(np.float32), labels

  def near(self, u, label) -> tuple[np.ndarray, np.ndarray]:
    """One point near an answer, of its label."""
    moved = self._moved(u, np.random.default_rng(self.seed))
    return moved[None], np.array(label)[None]

  def _moved(self, u: np.ndarray, rng) -> np.ndarray:
    """Every coordinate moved by NUDGE, to where it may be."""
    step = NUDGE * rng.choice([-1, 1], u.shape)
    low, high = self.frame.limits
    step = np.where((u + step < low) | (u + step > high), -step, step)
    return np.asarray(u + step, np.float32)


def nearest(u: np.ndarray, i: int) -> int:
  """The record nearest to record i."""
  distance = np.square(u - u[i]).sum(1)
  distance[i] = np.inf
  return int(np.argmin(distance))


def neutral(u: np.ndarray) -> np.ndarray:
  """(n,) a typical record that stands in for each when it is absent."""
  order = np.argsort(np.square(u - np.median(u, 0)).sum(1))
  return np.where(np.arange(len(u)) == order[0], order[1], order[0])


def numbers(value: Any) -> Any:
  """An array of one number as that number, for tables."""
  value = np.asarray(value)
  return value.item() if value.size == 1 else tuple(value.ravel().tolist())
