"""Which layers may be published: what each tells of a record."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from informed_recon.attacks.identifiability import View, identifiability
from informed_recon.audit import frame as frames
from informed_recon.audit.training import Train, floats, line, released
from informed_recon.types import UserError


def layers(
  train: Train,
  x,
  y,
  *,
  records: Sequence[int] = (0,),
  key: Any = None,
  views: Mapping[str, View] | None = None,
) -> pd.DataFrame:
  """What each layer of a release tells of records, before any search.

  The k records are taken to be unknown, all at once; all other records, all
  labels and the key are known. An error is given in standard deviations of a
  feature, of which somebody who has not seen the release is off by 1.

  Args:
    train: (key, x, y) -> parameters, as in `audit`.
    x: (n, ...) all records.
    y: (n, ...) all labels.
    records: (k,) indices of the unknown ones.
    key: handed to `train`; by default `jax.random.key(0)`.
    views: what is seen, by name; by default all layers, each alone, and all
      rounded to bfloat16 and int8.

  Returns:
    A table with a row for each view:
      view: its name.
      numbers: how many parameters are seen.
      unknowns: k d, the features that are sought.
      rank: of the Jacobian; as many directions of the unknowns can be told.
      condition: of the Jacobian.
      error: predicted error of a feature, root mean square over all.
      worst: that of the feature that is told worst.
      message: why not everything can be had, if so.

  Raises:
    UserError: a training that cannot be differentiated, or records that are no
      indices.
  """
  x, y = frames.check(x, y)
  frame, fixed = frames.make(x, y), floats(x, y)
  ids = np.asarray(records)
  if ids.ndim != 1 or not len(ids) or not np.isin(ids, np.arange(len(x))).all():
    raise UserError(f"records must be indices in [0, {len(x)}), got {records}")
  key = jax.random.key(0) if key is None else key

  def seen(u):
    unpack = jax.vmap(frame.unpack)
    rows, labels = unpack(u, fixed.y[ids])
    given = (
      fixed.x.at[ids].set(rows.astype(fixed.x.dtype)),
      fixed.y.at[ids].set(labels.astype(fixed.y.dtype)),
    )
    params = released(train, key, *given)
    # Counters are no real parameters.
    return jax.tree.map(
      lambda a: a if jnp.issubdtype(a.dtype, jnp.floating) else None, params
    )

  try:
    found = identifiability(seen, frame.pack(x[ids], y[ids]), views, spread=1.0)
  except UserError:
    raise
  except Exception as error:  # whatever a user's code may raise
    raise UserError(f"train cannot be differentiated ({line(error)})") from None
  return pd.DataFrame(
    dict(
      view=name,
      numbers=one.seen,
      unknowns=one.unknowns,
      rank=one.rank,
      condition=one.condition,
      error=one.rms,
      worst=float(one.error.max()),
      message=one.message,
    )
    for name, one in found.items()
  )
