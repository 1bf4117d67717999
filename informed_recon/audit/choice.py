"""Which records an audit looks for, and in which order."""

import numpy as np

from informed_recon.evaluation import metrics
from informed_recon.types import UserError

ORDERS = ("random", "all", "atypical", "highest_loss")
COUNT = 32  # records looked for where neither they nor the time are given


def choose(records, u: np.ndarray, minutes, loss=None) -> np.ndarray:
  """Indices of the records to look for, in order; `COUNT` of them where neither
  indices nor minutes are given.

  Args:
    records, minutes: as in `audit`.
    u: (n, .) all records as vectors of the frame.
    loss: (n,) of each record, for the order "highest_loss".

  Raises:
    UserError: indices that are not there, or an order of no known name.
  """
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
