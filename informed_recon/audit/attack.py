"""Looks for records through the training, or by shadow models where it must."""

import time

import numpy as np
from tqdm import tqdm

from informed_recon.audit import memory as memories
from informed_recon.audit import shadows, simulated
from informed_recon.audit.answer import Audit, answer
from informed_recon.audit.influence import influence
from informed_recon.audit.simulated import Found
from informed_recon.audit.training import Training, line
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
