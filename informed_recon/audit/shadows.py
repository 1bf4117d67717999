"""What can be done with a training function that can only be called.

Half of the records are the fixed set. A model is trained on them and one record
more, for each record that is looked for and for as many others as time allows
(shadow models); a ridge regression from parameters to records, fitted on the
shadow models, answers for the audited ones. (Balle, Cherubin, Hayes 2022, with
a linear reconstructor.) Nothing checks such an answer: none is vouched for.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from informed_recon.audit.training import Training, line
from informed_recon.evaluation import baselines
from informed_recon.storage.store import Rows
from informed_recon.types import UserError

LEAST = 16  # shadow models that a regression needs
GRACE = 60  # seconds over time, for as many


class Guesses(NamedTuple):
  """Answers for the first of the chosen records."""

  record: np.ndarray  # (M,)
  u: np.ndarray  # (M, .) vectors of the frame
  shadows: int  # shadow models
  fixed: int  # records in the fixed set
  interrupted: bool = False


def attack(
  training: Training, frame, x, y, chosen, deadline: float, seed: int
) -> Guesses:
  """Trains shadow models until the deadline, and reads the audited models.

  Raises:
    UserError: time for too few models.
  """
  count = len(x)
  rng = np.random.default_rng(seed)
  chosen = chosen[: max(1, count // 8)]
  others = rng.permutation(np.setdiff1d(np.arange(count), chosen))
  fixed, pool = others[: count // 2], others[count // 2 :]
  # Audited and shadow models in turn, so that time may end at any point.
  turns = [np.arange(len(ids)) / len(ids) for ids in (chosen, pool)]
  order = np.argsort(np.concatenate(turns), kind="stable")
  ids = np.concatenate([chosen, pool])[order]
  ends, interrupted = [], False
  try:
    for end in _trained(training, x, y, fixed, ids, deadline):
      ends.append(end)
  except KeyboardInterrupt:
    interrupted = True
  theta = np.concatenate(ends)[: len(ids)] if ends else np.empty((0, 1))
  audited = order[: len(theta)] < len(chosen)
  if (~audited).sum() < LEAST or not audited.any():
    raise UserError(
      f"{len(theta)} shadow models were trained, too few for an answer; give "
      "it more minutes or records"
    )
  u = frame.pack(x, y)
  known = u[ids[: len(theta)][~audited]]
  low, high = known.min(0), known.max(0)
  width = np.where(high > low, high - low, 1)
  ridge = baselines.ridge(
    Rows((theta[~audited],), len(known)),
    (known - low) / width,
    shadows=len(known),
  )
  guess = ridge(theta[audited], u.shape[1:]) * width + low
  records = ids[: len(theta)][audited]
  return Guesses(records, guess, len(known), len(fixed), interrupted)


def _trained(
  training: Training, x, y, fixed, ids, deadline: float
) -> Iterator[np.ndarray]:
  """Blocks (B, P) of models trained on the fixed set and one record more
  each, until the deadline, but for a minute more where they are too few."""
  begun, done, size = time.monotonic(), 0, training.block
  with tqdm(total=len(ids), unit="model") as bar:
    for start in range(0, len(ids), size):
      now = time.monotonic()
      few = done < 2 * LEAST and now < max(deadline, begun) + GRACE
      if now > deadline and not few:
        return
      some = np.resize(ids[start : start + size], size)
      rows = np.stack([np.append(fixed, i) for i in some])
      try:
        ends = training.many(some, x[rows], y[rows])
      except Exception as error:  # whatever a user's code may raise
        raise UserError(
          f"train failed on {rows.shape[1]} of its records: {line(error)}"
        ) from error
      yield ends
      done += size
      bar.update(min(size, len(ids) - start))
