"""The audit of a training function."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from informed_recon.audit import frame as frames
from informed_recon.audit import shadows, simulated, statement
from informed_recon.audit.answer import Audit
from informed_recon.audit.simulated import Found
from informed_recon.audit.training import Train, Training, prepare
from informed_recon.evaluation import metrics
from informed_recon.types import UserError

COUNT = 32  # records looked for where neither they nor the time are given
REPEATS = 0.01  # of the influence: training repeats itself when traced
ORDERS = ("random", "all", "atypical", "highest_loss")
# What was found before, of the same release and records: a second call with
# more minutes goes on.
_found: dict[str, dict[int, Found]] = {}


def audit(
  train: Train,
  x,
  y,
  *,
  records: str | Sequence[int] | None = None,
  minutes: float | None = None,
  key: Any = None,
  loss=None,
) -> Audit:
  """Which of its training records can be read out of a model's weights?

  The release is `train(key, x, y)`. For every chosen record the adversary knows
  the release, all other records and their order, the training function and its
  key, and neither the record nor its label.

  Args:
    train: (key, x, y) -> parameters, any pytree. Traced by jax where it can be:
      then every record is looked for through the training itself. A function
      that can only be called is attacked by shadow models.
    x: (n, ...) records, of any shape and scale.
    y: (n, ...) labels or real responses.
    records: which to look for: indices, or "random", "all" (in their order),
      "atypical" (far from all others first) or "highest_loss" (wants `loss`).
      By default "random".
    minutes: of time, beside one compilation; then an order ends where the time
      does. Called again with more, the audit goes on.
    key: handed to `train` as it is; by default `jax.random.key(0)`.
    loss: (params, x, y) -> () of one record.

  Returns:
    The answer. No record that it is confident of is wrong; see docs/audit.md
    for what that has been tried against.

  Raises:
    UserError: arguments that cannot be audited; one line says why.
  """
  deadline = _deadline(minutes)
  x, y = frames.check(x, y)
  key = jax.random.key(0) if key is None else key
  frame = frames.make(x, y)
  training = prepare(train, key, x, y, frame)
  value = None
  if loss is not None:
    params = train(key, x, y)
    value = np.array([float(loss(params, *pair)) for pair in zip(x, y)])
  chosen = choose(records, frame.pack(x, y), minutes, value)
  return attack(training, frame, x, y, chosen, deadline)


def _deadline(minutes: float | None) -> float:
  if minutes is not None and not minutes > 0:
    raise UserError(f"minutes must be above 0, got {minutes}")
  return time.monotonic() + 60 * (minutes or np.inf)


def choose(records, u: np.ndarray, minutes, loss=None) -> np.ndarray:
  """Indices of the records to look for, in order."""
  if records is None:
    records = "random"
  if not isinstance(records, str):
    chosen = np.atleast_1d(np.asarray(records))
    if chosen.dtype == bool or chosen.dtype.kind not in "iu" or not len(chosen):
      raise UserError("records must be indices of x, or one of " + str(ORDERS))
    if chosen.min() < 0 or chosen.max() >= len(u):
      raise UserError(f"records must lie in [0, {len(u)}), got {chosen}")
    return np.array(list(dict.fromkeys(chosen.tolist())))
  if records not in ORDERS:
    raise UserError(f"records must be indices or one of {ORDERS}")
  if records == "highest_loss" and loss is None:
    raise UserError('records="highest_loss" wants loss=(params, x, y) -> loss')
  if records == "all":
    return np.arange(len(u))
  if records == "random":
    order = np.random.default_rng(0).permutation(len(u))
  elif records == "atypical":
    square = metrics.pairwise_mse(u, u)
    np.fill_diagonal(square, np.inf)
    order = np.argsort(-square.min(1))
  else:
    order = np.argsort(-loss)
  return order if minutes else order[:COUNT]


def attack(
  training: Training,
  frame,
  x,
  y,
  chosen,
  deadline: float,
  tried=(),
  fallback: bool = True,
) -> Audit:
  """Looks for the chosen records by what the training function allows; with
  `fallback` by shadow models where it cannot be simulated."""
  tried, notes, why = list(tried), [], training.why
  move = np.full(len(chosen), np.nan)
  found: dict[int, Found] = {}
  if training.simulate:
    memo = _found.setdefault(_digest(training.theta, x, y), {})
    try:
      move, repeated = simulated.influence(training, frame, x, y, chosen)
      usual = float(np.median(move))
      if not repeated <= REPEATS * usual:
        notes.append(
          "The recipe does not explain the release: it ends "
          f"{repeated:.3g} away, where one record moves it by {usual:.3g}. No "
          "record is vouched for."
        )
        why = "the training function does not repeat the release"
      else:
        found = _simulated(training, frame, x, y, chosen, move, deadline, memo)
    except UserError as error:
      why = str(error)
    except MemoryError as error:
      why = str(error)
    except Exception as error:  # whatever a user's code may raise under vjp
      why = f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
  if found:
    tried.append(
      f"Simulation: the training was run backwards for {len(found)} of "
      f"{len(chosen)} chosen records, with all other records and the key "
      "known, the label unknown; a second search checked every answer that "
      "explains the release."
    )
  elif why:
    tried.append(f"Simulation was impossible: {why}.")
    if fallback:
      shadowed = shadows.attack(training, frame, x, y, chosen, deadline, 0)
      tried.append(
        f"Shadow models: {shadowed.shadows}, on {shadowed.fixed} records of "
        f"{len(x)} and one more, and a ridge regression from their parameters "
        f"to the record, for {len(shadowed.record)} records. Each has a "
        "release of its own, trained on these fewer records."
      )
      for i, u in zip(shadowed.record.tolist(), shadowed.u):
        record, _ = frame.unpack(u.astype(np.float64), y[i])
        found[i] = Found(record, None, np.nan, np.nan, False)
      return answer(
        frame, x, y, chosen, found, "shadow_ridge", tried, notes, move
      )
  return answer(frame, x, y, chosen, found, "simulation", tried, notes, move)


def answer(
  frame, x, y, chosen, found, attack: str, tried, notes, move=None
) -> Audit:
  """The audit of what one attack found, {record: Found}."""
  if move is None:
    move = np.full(len(chosen), np.nan)
  table = _table(frame, x, y, chosen, found, attack, move)
  pictures = {i: f.x for i, f in found.items()}
  truth = {i: x[i] for i in pictures}
  pair = None
  if pictures:
    d, ids = frame.features, list(pictures)
    rows = [np.stack([a[i].ravel() for i in ids]) for a in (truth, pictures)]
    pair = tuple(row / frame.scale[:d] for row in rows)
  facts = statement.facts(
    table, records=len(x), tried=tried, notes=notes, answers=pair
  )
  return Audit(table, pictures, truth, facts)


def _simulated(training, frame, x, y, chosen, move, deadline, memo) -> dict:
  """What was found before, and what time allows to find now; only searches
  that came to their end are remembered."""
  found = {int(i): memo[i] for i in chosen if i in memo}
  waiting = np.array([i not in memo for i in chosen])
  waiting &= move > 0  # what moves nothing cannot be looked for
  if not waiting.any():
    return found
  searched = simulated.search(
    training, frame, x, y, chosen[waiting], move[waiting], 0, deadline
  )
  total = int(waiting.sum())
  try:
    for i, one in tqdm(searched, total=total, desc="audit", unit="record"):
      found[i] = one
      if one.ended:
        memo[i] = one
  except KeyboardInterrupt:
    if not found:
      raise
  return found


def _digest(theta, x, y) -> str:
  state = hashlib.sha256()
  for a in (theta, x, y):
    state.update(f"{a.shape} {a.dtype}".encode())
    state.update(np.ascontiguousarray(a).tobytes())
  return state.hexdigest()


def _table(frame, x, y, chosen, found, attack, move) -> pd.DataFrame:
  u = frame.pack(x, y)[:, : frame.features]
  rows = []
  for i, influence in zip(chosen.tolist(), move):
    one = found.get(i)
    near = frames.nearest(u, i)
    rows.append(
      dict(
        record=i,
        label=frames.numbers(y[i]),
        attack=attack if one else "none",
        mse=_mse(one.x, x[i]) if one else np.nan,
        oracle_mse=_mse(x[near], x[i]),
        confident=one.confident if one else False,
        label_found=frames.numbers(one.y)
        if one and one.y is not None
        else None,
        error=one.error if one else np.nan,
        residual=one.residual if one else np.nan,
        influence=float(influence),
      )
    )
  return pd.DataFrame(rows)


def _mse(a, b) -> float:
  return float(np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2))
