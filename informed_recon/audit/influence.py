"""By how much the release moves without each of its records."""

import functools
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon.audit import frame as frames
from informed_recon.audit.training import BLOCK, Training, floats
from informed_recon.types import Records, UserError


class Influence(NamedTuple):
  """What was learned beside by how much the release moves."""

  repeated: float  # distance of the release from training traced again
  seconds: float  # of one training, others running side by side
  interrupted: bool


def influence(
  training: Training, frame, x, y, chosen, deadline: float, distance
) -> Influence:
  """Trains without each of the chosen records, and once with all.

  Args:
    training: one that can be traced.
    frame: of the records.
    x: all records.
    y: all labels.
    chosen: (M,) records to leave out, in this order.
    deadline: of `time.monotonic`; half of the time until then is taken.
    distance: (n,) norm by which the release moves without a record, filled in
      place where it is NaN: the record gets weight 0, or a typical one takes
      its place where the training takes no weights.

  Raises:
    UserError: the training is blind to the weights, or has no derivative.
  """
  u, fixed = frame.pack(x, y), floats(x, y)
  stand_in = frames.neutral(u)
  repeated = _repeated(training, u, fixed, y, int(chosen[0]), stand_in)

  @jax.jit
  @functools.partial(jax.vmap, in_axes=(None, 0, 0, 0))
  def away(fixed, row, label, index):
    if training.without:
      end = training.without(fixed, index)
    else:
      end = training.simulate(fixed, Records(row, label), index)
    return jnp.linalg.norm(end - training.theta)

  def measure(ids) -> float:
    begun, rows = time.monotonic(), stand_in[ids]
    ends = away(fixed, u[rows], y[rows], ids.astype(np.int32))
    distance[ids] = np.asarray(ends)
    return (time.monotonic() - begun) / len(ids)

  waiting = [i for i in chosen.tolist() if np.isnan(distance[i])]
  blocks = [
    np.resize(waiting[i : i + BLOCK], BLOCK)
    for i in range(0, len(waiting), BLOCK)
  ] or [np.resize(chosen, BLOCK)]
  measure(blocks[0])  # compiles as well
  seconds = measure(blocks[1 % len(blocks)])
  until = time.monotonic() + (deadline - time.monotonic()) / 2
  try:
    for ids in tqdm(blocks[2:], "influence", unit=" blocks", leave=False):
      if time.monotonic() > until:
        break
      measure(ids)
  except KeyboardInterrupt:
    return Influence(repeated, seconds, True)
  return Influence(repeated, seconds, False)


def _repeated(training, u, fixed, y, i: int, stand_in) -> float:
  """Distance of the release from training traced again."""
  neutral = int(stand_in[i])

  @jax.jit
  def look(fixed, record, label):
    def end(record):
      return training.simulate(fixed, Records(record, label), np.int32(i))

    theta, slope = jax.jvp(end, (record,), (jnp.ones_like(record),))
    blind = jnp.ones(())
    if training.without:
      fixed_of_other = Records(fixed.x.at[i].set(fixed.x[neutral]), fixed.y)
      ends = [training.without(f, i) for f in (fixed, fixed_of_other)]
      gap = jnp.linalg.norm(ends[0] - ends[1])
      blind = jnp.linalg.norm(ends[0] - theta) > 10 * gap
    return (
      jnp.linalg.norm(theta - training.theta),
      jnp.linalg.norm(slope) > 0,
      blind,
    )

  gap, steep, masked = look(fixed, u[i], y[i])
  if not steep:
    raise UserError(
      "its derivative in a record is 0 (it rounds, compares or stops gradients)"
    )
  if not masked:
    raise UserError(
      "a record of weight 0 still moves what train returns; a weight must "
      "multiply the record's loss, and nothing may couple the records"
    )
  return float(gap)
