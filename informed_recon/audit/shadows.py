"""What can be done with a training function that can only be called.

Half of the records are the fixed set. A model is trained on them and one record
more, for each record that is looked for and for as many others as time allows
(shadow models); a ridge regression from parameters to records, fitted on the
shadow models, answers for the audited ones. (Balle, Cherubin, Hayes 2022, with
a linear reconstructor.) Nothing checks such an answer: none is vouched for.
"""

import time
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from informed_recon.audit.training import Training
from informed_recon.evaluation import baselines
from informed_recon.storage.store import Rows
from informed_recon.types import UserError

LEAST = 16  # shadow models that a regression needs


class Guesses(NamedTuple):
  """Answers for the first of the chosen records."""

  record: np.ndarray  # (M,)
  u: np.ndarray  # (M, .) vectors of the frame
  shadows: int  # shadow models
  fixed: int  # records in the fixed set


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

  def end(i: int) -> np.ndarray:
    ids = np.append(fixed, i)
    return training.run(x[ids], y[ids])

  # In turn, so that time may end at any point.
  audited, shadow = [], []
  begun = time.monotonic()
  with tqdm(total=len(chosen) + len(pool), unit="model") as bar:
    while len(audited) < len(chosen) or len(shadow) < len(pool):
      late = time.monotonic() > deadline
      if late and len(shadow) >= LEAST and audited:
        break
      share = len(audited) * len(pool) <= len(shadow) * len(chosen)
      if share and len(audited) < len(chosen) and (shadow or not audited):
        audited.append(end(chosen[len(audited)]))
      else:
        shadow.append(end(pool[len(shadow)]))
      bar.update()
      spent = time.monotonic() - begun
      each = spent / (len(audited) + len(shadow))
      if late and each * LEAST > 60:
        raise UserError(
          f"one training takes {each:.1f} s: minutes= leaves time for fewer "
          f"than {LEAST} shadow models; give it more"
        )
  u = frame.pack(x, y)
  known = u[pool[: len(shadow)]]
  low, high = known.min(0), known.max(0)
  width = np.where(high > low, high - low, 1)
  ridge = baselines.ridge(
    Rows((np.stack(shadow),), len(shadow)),
    (known - low) / width,
    shadows=len(shadow),
  )
  guess = ridge(np.stack(audited), u.shape[1:]) * width + low
  return Guesses(chosen[: len(audited)], guess, len(shadow), len(fixed))
