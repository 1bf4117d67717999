"""A learning rate that is known only roughly, sought along with the record.

Training at another rate moves the weights much farther than a record does. So
the rate is estimated first, from the known records alone,

  r = argmin ‖A_r(D₋) - θ‖   over rates within a share of the one believed,

and what that leaves, a record's worth, is a number more to search for: a
search's unknowns are [x, u], with training at the rate r₀ exp(s u) and s such
that a unit of u moves the weights as far as a record.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from informed_recon.attacks.simulation.search import Answer, Candidates
from informed_recon.attacks.simulation.step import Release, Search, Simulate
from informed_recon.types import Records

GRID = 16  # rates tried a target, before the best is refined
ENOUGH = 1e-6  # of the logarithm of the rate

# (fixed set, target or None, id of the random draws, rate over the one
# believed) -> parameters (P,)
Train = Callable[[Records, Records | None, jax.Array, jax.Array], jax.Array]


class Sought(NamedTuple):
  """What `search.reconstruct` takes, of records with a rate behind them."""

  simulate: Simulate
  releases: Release
  candidates: Candidates
  search: Search
  scale: float  # s
  shape: tuple[int, ...]  # of a record

  def split(self, answer: Answer) -> tuple[Answer, float]:
    """The answer of a record, and the rate found, over the one believed."""
    found = float(np.exp(self.scale * answer.x[-1]))
    whole = (len(answer.iterates), *self.shape)
    return answer._replace(
      x=answer.x[:-1].reshape(self.shape),
      iterates=answer.iterates[:, :-1].reshape(whole),
    ), found


def sought(
  train: Train,
  fixed: Records,
  releases: Release,
  candidates: Candidates,
  search: Search,
  within: float,
) -> Sought:
  """A search for records and the rate, which is off by at most a share `within`
  of the one believed, in (0, 1)."""
  fixed, shape = Records(*map(jnp.asarray, fixed)), fixed.x.shape[1:]

  @jax.jit
  def base(offset, model_id):
    return train(fixed, None, model_id, jnp.exp(offset))

  @jax.jit
  def slope(offset, model_id):
    return jnp.linalg.norm(jax.jacfwd(base)(offset, model_id))

  ends = np.log1p([-within, within])
  rows, offsets, scales = [], [], []
  for theta, model_id in zip(releases.theta, releases.model_id):

    def misfit(offset, theta=theta, model_id=model_id):
      end = base(jnp.float32(offset), model_id)
      return float(np.linalg.norm(np.float64(end) - theta))

    grid = np.linspace(*ends, GRID)
    near = grid[np.argmin([misfit(offset) for offset in grid])]
    about = (ends[1] - ends[0]) / (GRID - 1)
    best = optimize.minimize_scalar(
      misfit,
      bounds=(max(near - about, ends[0]), min(near + about, ends[1])),
      method="bounded",
      options=dict(xatol=ENOUGH),
    )
    offsets.append(best.x)
    rows.append(base(jnp.float32(best.x), model_id))
    scales.append(best.fun / float(slope(jnp.float32(best.x), model_id)))
  scale = float(np.median(scales))

  def simulate(fixed, target, model_id):
    x = target.x[:-1].reshape(shape)
    ratio = jnp.exp(scale * target.x[-1])
    return train(fixed, Records(x, target.y), model_id, ratio)

  def extended(i: int):
    start = candidates(i)
    if start is None:
      return None
    x, y = start
    more = np.full((len(x), 1), offsets[i] / scale, np.float32)
    return np.concatenate([x.reshape(len(x), -1), more], 1), y

  # The rate keeps within its bounds too: a residual is judged by the misfit at
  # the best rate there, and one beyond would lower it without any record.
  bounds = tuple(
    np.append(np.full(np.prod(shape), edge), end / scale).astype(np.float32)
    for edge, end in zip(search.bounds or (-np.inf, np.inf), ends)
  )
  return Sought(
    simulate,
    releases._replace(base=np.stack(rows)),
    extended,
    dataclasses.replace(search, bounds=bounds),
    scale,
    shape,
  )
