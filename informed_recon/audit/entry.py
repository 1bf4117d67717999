"""The audit of a training function."""

import dataclasses
import numbers
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd
from tqdm import tqdm

from informed_recon.audit import frame as frames
from informed_recon.audit import memory as memories
from informed_recon.audit import remedies, shadows, simulated, statement
from informed_recon.audit.answer import Audit
from informed_recon.audit.choice import choose
from informed_recon.audit.influence import influence
from informed_recon.audit.simulated import Found
from informed_recon.audit.training import (
  Train,
  Training,
  line,
  prepare,
  released,
)
from informed_recon.types import UserError

REPEATS = 0.01  # of the influence: training repeats itself when traced
# Trainings that the search for a record and its check take, typically, beside
# one for each unknown, for the Jacobian. Measured at 64 features and 10 labels.
PASSES = 700
# What to do where shadow models are all that a function allows.
STRONGER = (
  "Only a weak attack was possible: that it fails says little. The strong "
  "ones: attacks.sklearn.audit for a model of scikit-learn, "
  "attacks.convex.reconstruct for published coefficients, "
  "audit_released(loss=, l2=) for a loss that jax can differentiate, of a "
  "model trained to convergence."
)
INTERRUPTED = "The audit was interrupted."


class _NoTimeError(UserError):
  """The simulation was possible, had there been time."""


def audit(
  train: Train,
  x,
  y,
  *,
  records: str | Sequence[int] | None = None,
  minutes: float | None = None,
  key: Any = None,
  key_known: bool = True,
  loss=None,
  workdir=None,
  variants: Mapping[str, Any] | None = None,
  score: Callable | None = None,
  guarantee: statement.Guarantee | None = None,
) -> Audit:
  """Which of its training records can be read out of a model's weights?

  The release is `train(key, x, y)`. For every chosen record the adversary knows
  the release, all other records and their order, the training function and its
  key, and neither the record nor its label.

  Args:
    train: (key, x, y) -> parameters, any pytree, or (key, x, y, weight) with a
      weight for each record. Traced by jax where it can be: then every record
      is looked for through the training itself. A function that can only be
      called is attacked by shadow models.
    x: (n, ...) records, of any shape and scale.
    y: (n, ...) labels or real responses.
    records: which to look for: indices, or "random", "all" (in their order),
      "atypical" (far from all others first) or "highest_loss" (wants `loss`).
      By default "random".
    minutes: of time, compilation included; what fits is planned from the time
      that the first trainings take. Called again with more, the audit goes on.
      Ctrl-C ends it early, with what there is.
    key: handed to `train` as it is; by default `jax.random.key(0)`.
    key_known: whether the adversary knows the key. If not, and the release
      depends on it, shadow models of other keys are what is left.
    loss: (params, x, y) -> () of one record.
    workdir: folder where what was found is kept, for another process to go on
      from.
    variants: what might be changed, in words -> another train, or (train, x, y)
      with further records behind these; the same records are looked for after
      each, in an equal part of the time.
    score: (params) -> what a release is worth, such as accuracy on test data.
    guarantee: differential privacy of the training, as declared.

  Returns:
    The answer. No record that it is confident of is wrong; see docs/audit.md
    for what that has been tried against.

  Raises:
    UserError: arguments that cannot be audited; one line says why.
  """
  variants = {} if variants is None else variants
  _check(train, variants, guarantee)
  deadline = deadline_of(minutes, 1 + len(variants))
  share = minutes and minutes / (1 + len(variants))
  x, y = frames.check(x, y)
  key = jax.random.key(0) if key is None else key
  declared = guarantee and statement.proven(guarantee, len(x))
  frame = frames.make(x, y)
  training = prepare(train, key, x, y, frame, key_known)
  value = worth = None
  if loss is not None or score is not None:
    params = released(train, key, x, y)
    if loss is not None:
      value = losses(loss, params, x, y)
    if score is not None:  # what cannot be scored says so before the search
      worth = _number("score", score, params)
  chosen = choose(records, frame.pack(x, y), minutes, value)
  found = attack(training, frame, x, y, chosen, deadline, workdir=workdir)
  facts, table = found.facts, None
  if declared:
    proven, figures = declared
    figures = dict(facts["figures"], **figures)
    facts = dict(facts, proven=proven, figures=figures)

  def scored(train, x, y) -> float:
    if score is None:
      return np.nan
    return _number("score", score, released(train, key, x, y))

  def search(train, x, y, records) -> pd.DataFrame:
    asked = dict(records=records, minutes=share, workdir=workdir)
    return audit(train, x, y, key=key, key_known=key_known, **asked).table

  if variants and INTERRUPTED not in facts["measured"]:
    table = remedies.compare(found.table, train, variants, x, y, search, scored)
    facts = statement.with_remedies(facts, table)
  noise = facts["figures"].get("output_noise")
  if worth is not None and noise:
    noisy = remedies.score_with_noise(params, noise, score)
    facts = statement.with_cost(facts, worth, noisy)
  return dataclasses.replace(found, facts=facts, remedies=table)


def _check(train, variants, guarantee) -> None:
  """Refuses arguments of another kind before anything is trained."""
  if not callable(train):
    raise UserError(
      f"train must be a function (key, x, y) -> parameters, got {train!r}"
    )
  if not isinstance(variants, Mapping):
    raise UserError(
      'variants must be named, such as {"half the steps": train}, got a '
      f"{type(variants).__name__}"
    )
  for name, variant in variants.items():
    of_more = isinstance(variant, tuple) and len(variant) == 3
    if not callable(variant[0] if of_more else variant):
      raise UserError(
        f"the variant {name!r} must be a function (key, x, y) -> parameters, "
        "or (train, x, y)"
      )
  if not isinstance(guarantee, statement.Guarantee | None):
    raise UserError(
      "guarantee must be a Guarantee(noise_multiplier, sampling_probability, "
      f"steps), got a {type(guarantee).__name__}"
    )


def deadline_of(minutes: float | None, parts: int = 1) -> float:
  """The time of `time.monotonic` when the first of equal parts of so many
  minutes is over; None: never."""
  if minutes is None:
    return np.inf
  if not isinstance(minutes, numbers.Real) or not minutes > 0:
    raise UserError(f"minutes must be a number above 0, got {minutes!r}")
  return time.monotonic() + 60 * minutes / parts


def losses(loss: Callable, params, x, y) -> np.ndarray:
  """(n,) of each record at the release."""
  found = np.array([_number("loss", loss, params, *pair) for pair in zip(x, y)])
  if np.isnan(found).any():
    raise UserError(f"loss of record {int(np.isnan(found).argmax())} is NaN")
  return found


def _number(name: str, function: Callable, *given) -> float:
  """What a function of the user's says of a release."""
  try:
    value = function(*given)
  except Exception as error:  # whatever a user's code may raise
    raise UserError(f"{name} failed on the release: {line(error)}") from error
  try:
    return float(value)
  except (TypeError, ValueError):
    kind = type(value).__name__
    shape = f" of shape {value.shape}" if hasattr(value, "shape") else ""
    raise UserError(
      f"{name} must return one number, got {kind}{shape}"
    ) from None


def attack(
  training: Training,
  frame,
  x,
  y,
  chosen,
  deadline: float,
  fallback: bool = True,
  workdir=None,
) -> Audit:
  """Looks for the chosen records by simulating the training.

  Args:
    training: what `training.prepare` found out about the user's function.
    frame: the way from records to vectors.
    x: (n, ...) all records.
    y: (n, ...) all labels.
    chosen: (M,) indices of the records to look for, in this order.
    deadline: of `time.monotonic`, at which the last search is cut short.
    fallback: whether shadow models answer where training cannot be simulated.
    workdir: folder that keeps the answers, or None.
  """
  notes = [training.note] if training.note else []
  tried, why, hurried = [], training.why, False
  memory = memories.recall(workdir, training.theta, x, y, training.kind)
  found: dict[int, Found] = {}
  if training.simulate:
    try:
      why = _simulate(
        training, frame, x, y, chosen, deadline, memory, found, notes
      )
    except KeyboardInterrupt:
      notes.append(INTERRUPTED)
      fallback = False
    except (UserError, MemoryError) as error:
      why, hurried = str(error), isinstance(error, _NoTimeError)
    except Exception as error:  # whatever a user's code may raise under vjp
      why = line(error)
    memories.keep(memory)
  move = memory.influence[chosen]
  if found:
    short = sum(not one.ended for one in found.values())
    tried.append(
      f"Simulation: the training was run backwards for {len(found)} of "
      f"{len(chosen)} chosen records, with all other records known, and "
      + ("a key of the adversary's own" if training.secret else "the key")
      + ", the label unknown; a second search checked every answer that "
      "explains the release."
      + (f" Time cut {short} of them short." if short else "")
    )
    untold = sum(one.confident and not one.told for one in found.values())
    if untold:
      notes.append(
        f"The release does not tell the label of {untold} records: another one "
        "explains it as well. Their features alone are vouched for."
      )
  elif why:
    tried.append(f"Simulation was impossible: {why}.")
    if fallback:
      try:
        found = _shadowed(training, frame, x, y, chosen, deadline, tried, notes)
      except UserError as error:
        tried.append(f"Shadow models were impossible: {error}.")
      given = chosen, found, "shadow_ridge", tried, notes, move, hurried
      return answer(frame, x, y, *given)
  return answer(frame, x, y, chosen, found, "simulation", tried, notes, move)


def _simulate(
  training, frame, x, y, chosen, deadline, memory, found, notes
) -> str:
  """Adds to `found` what time allows, and to `notes` what was measured; only
  searches that came to their end are remembered. Returns why nothing could be
  searched for."""
  move = memory.influence.copy()
  moved = influence(training, frame, x, y, chosen, deadline, move)
  usual = float(np.nanmedian(move[chosen]))
  if not moved.repeated <= REPEATS * usual:
    apart = (
      f"{moved.repeated:.3g} away, where one record moves it by {usual:.3g}"
    )
    if training.secret:
      return f"the key is secret, and with another one training ends {apart}"
    notes.append(
      f"The recipe does not explain the release: it ends {apart}. No record is "
      "vouched for."
    )
    return "the training function does not repeat the release"
  if training.secret:
    notes.append(
      "Training ends at the same release with another key: that the key is "
      "secret protects nothing."
    )
  memory.influence[:] = move  # of a training that does explain the release
  found |= {int(i): memory.found[i] for i in chosen if i in memory.found}
  if moved.interrupted:
    raise KeyboardInterrupt
  # What moves nothing, or was not left out yet, cannot be looked for.
  waiting = np.array([i for i in chosen if i not in memory.found], int)
  waiting = waiting[memory.influence[waiting] > 0]
  each = (PASSES + len(frame.center)) * moved.seconds
  left = deadline - time.monotonic()
  if not len(waiting):
    return ""
  if left < each:
    raise _NoTimeError(
      f"a record takes about {each / 60:.2g} minutes on this machine, and "
      f"{max(left, 0) / 60:.2g} were left; give it more minutes"
    )
  fits = int(min(left / each, len(waiting)))
  searched = simulated.search(
    training,
    frame,
    x,
    y,
    waiting,
    memory.influence[waiting],
    fits,
    deadline,
  )
  for i, one in tqdm(searched, "audit", total=fits, unit=" records"):
    found[i] = one
    if one.ended:
      memory.found[i] = one
      memories.keep(memory)
  return ""


def _shadowed(training, frame, x, y, chosen, deadline, tried, notes) -> dict:
  """What shadow models answer, and in `tried` what they were."""
  shadowed = shadows.attack(training, frame, x, y, chosen, deadline, 0)
  tried.append(
    f"Shadow models: {shadowed.shadows}, on {shadowed.fixed} records of "
    f"{len(x)} and one more, and a ridge regression from their parameters to "
    f"the record, for {len(shadowed.record)} records. Each has a release of "
    "its own, trained on these fewer records"
    + (", and a key of its own." if training.secret else ".")
  )
  if not training.simulate:
    tried.append(STRONGER)
  if shadowed.interrupted:
    notes.append(INTERRUPTED)
  answers = {}
  for i, u in zip(shadowed.record.tolist(), shadowed.u):
    record, _ = frame.unpack(u.astype(np.float64), y[i])
    answers[i] = Found(record, None, np.nan, np.nan, False)
  return answers


def answer(
  frame,
  x,
  y,
  chosen,
  found,
  attack: str,
  tried,
  notes,
  move=None,
  hurried=False,
) -> Audit:
  """The `Audit` of what one attack found.

  Args:
    frame, x, y, chosen: as in `attack`.
    found: index of a record -> `Found`.
    attack: the attack's name in the table.
    tried: sentences for the statement on what was done.
    notes: further sentences for the statement.
    move: (M,) norm by which the release moves without each chosen record; None:
      not measured.
    hurried: whether a stronger attack was possible, had there been time.
  """
  if move is None:
    move = np.full(len(chosen), np.nan)
  table = _table(frame, x, y, chosen, found, attack, move)
  pictures = {i: f.x for i, f in found.items()}
  truth = {i: x[i] for i in pictures}
  ended = [i for i, f in found.items() if f.ended]
  pair = None
  if ended:
    d = frame.features
    rows = [np.stack([a[i].ravel() for i in ended]) for a in (truth, pictures)]
    pair = tuple(row / frame.scale[:d] for row in rows)
  facts = statement.facts(
    table,
    records=len(x),
    tried=tried,
    notes=notes,
    answers=pair,
    hurried=hurried,
  )
  return Audit(table, pictures, truth, facts)


def _table(frame, x, y, chosen, found, attack, move) -> pd.DataFrame:
  d = frame.features
  u, labels = frame.pack(x, y)[:, :d], y.reshape(len(y), -1)
  rows = []
  for i, moved in zip(chosen.tolist(), move):
    one = found.get(i)
    others = np.arange(len(u)) != i
    alike = others & (labels == labels[i]).all(1)
    blind = u[alike if frame.labels is not None and alike.any() else others]
    wrong = np.nan
    if one:
      # In float64, for answers that are right to more digits than u has.
      off = np.asarray(one.x, float).ravel() - np.asarray(x[i], float).ravel()
      wrong = _square(off / frame.scale[:d])
    rows.append(
      dict(
        record=i,
        label=frames.numbers(y[i]),
        attack=attack if one else "none",
        ended=bool(one and one.ended),
        mse=wrong,
        oracle_mse=_square(u[frames.nearest(u, i)] - u[i]),
        blind_mse=_square(blind.mean(0, dtype=float) - u[i]),
        confident=one.confident if one else False,
        label_found=frames.numbers(one.y)
        if one and one.y is not None and one.told
        else None,
        error=one.error if one else np.nan,
        residual=one.residual if one else np.nan,
        influence=float(moved),
      )
    )
  return pd.DataFrame(rows)


def _square(difference) -> float:
  return float(np.mean(np.square(difference, dtype=float)))
