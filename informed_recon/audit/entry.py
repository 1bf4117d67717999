"""The audit of a training function."""

import dataclasses
import numbers
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import pandas as pd

from informed_recon.audit import frame as frames
from informed_recon.audit import remedies, statement
from informed_recon.audit.answer import Audit
from informed_recon.audit.attack import INTERRUPTED, attack
from informed_recon.audit.choice import choose
from informed_recon.audit.training import Train, line, prepare, released
from informed_recon.types import UserError


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
