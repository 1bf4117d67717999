"""What would change: the same records looked for after other trainings."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from informed_recon.audit import statement
from informed_recon.types import UserError

MOST = 16  # records looked for after each training
DRAWS = 5  # of noise, to measure what it costs
AS_IT_IS = "as it is"


def compare(
  table: pd.DataFrame,
  train,
  variants: Mapping[str, Any],
  x: np.ndarray,
  y: np.ndarray,
  search: Callable,
  score: Callable,
) -> pd.DataFrame:
  """One row a training, the audited one first.

  Args:
    table: of the audit; its searched records are looked for again.
    train: the audited one.
    variants: in words, such as "half the steps" -> train, or (train, x, y)
      where the records differ; the first ones are those of the audit.
    x: all records.
    y: all labels.
    search: (train, x, y, records) -> table of an audit.
    score: (train, x, y) -> of its release, such as accuracy on test data.

  Returns:
    Columns `remedy`, `searched` (to the end), `read_out` (vouched for),
    `nearer` (than any other record), `blind` (likewise, of guesses without the
    model), `mse` and `influence` (medians), `score`.

  Raises:
    UserError: a variant that lacks the audit's records.
  """
  done = table[table.mse.notna()].head(MOST)
  ids = done.record.tolist()
  rows = [_row(AS_IT_IS, done, score(train, x, y))]
  for name, variant in variants.items():
    train, other_x, other_y = (
      variant if isinstance(variant, tuple) else (variant, x, y)
    )
    other_x, other_y = np.asarray(other_x), np.asarray(other_y)
    for i in ids:
      same = i < len(other_x) and other_x[i].shape == x[i].shape
      if not same or (other_x[i] != x[i]).any() or (other_y[i] != y[i]).any():
        raise UserError(
          f"the variant {name!r} must keep the audited records where they are; "
          f"record {i} differs: put further records behind them"
        )
    if ids:
      again = search(train, other_x, other_y, ids)
      rows.append(_row(name, again, score(train, other_x, other_y)))
  return pd.DataFrame(rows)


def score_with_noise(params: Any, noise: float, score: Callable) -> float:
  """The mean score of parameters with Gaussian noise on each."""

  def disturbed(seed: int):
    rng = np.random.default_rng(seed)

    def add(leaf):
      leaf = jnp.asarray(leaf)
      if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
      return leaf + jnp.asarray(noise * rng.normal(size=leaf.shape), leaf.dtype)

    return jax.tree.map(add, params)

  return float(np.mean([score(disturbed(seed)) for seed in range(DRAWS)]))


def _row(name: str, table: pd.DataFrame, score: float) -> dict:
  done = table[table.ended]
  near, blind = statement.nearer(done)
  return dict(
    remedy=name,
    searched=len(done),
    read_out=int(done.confident.sum()),
    nearer=near,
    blind=blind,
    mse=float(done.mse.median()),
    influence=float(table.influence.median()),
    score=score,
  )
