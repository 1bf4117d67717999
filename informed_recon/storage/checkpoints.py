"""The state of a long computation on disk: its last step alone, by orbax.

A state is a dict of pytrees of arrays; entries that are None are not written,
so that what a computation does not use leaves no trace.
"""

import errno
import os
import pathlib
import re
from collections.abc import Callable

import jax
import numpy as np
import orbax.checkpoint as ocp

from informed_recon.storage import files


def manager(directory: pathlib.Path) -> ocp.CheckpointManager:
  """Of this process alone: no waiting for processes that compute nothing."""
  me = jax.process_index()
  options = ocp.CheckpointManagerOptions(
    max_to_keep=1,
    create=False,
    multiprocessing_options=ocp.options.MultiprocessingOptions(
      primary_host=me,
      active_processes={me},
      barrier_sync_key_prefix=f"process{me}",
    ),
  )
  return ocp.CheckpointManager(directory.absolute(), options=options)


def save(checkpoints: ocp.CheckpointManager, step: int, state: dict) -> None:
  """Writes, and waits until it is written.

  Raises:
    OSError: the disk is full.
  """
  try:
    # As host arrays: of several processes this one alone has the state.
    args = ocp.args.StandardSave(jax.device_get(_present(state)))
    checkpoints.save(step, args=args)
    checkpoints.wait_until_finished()
    folder = pathlib.Path(checkpoints.directory)
    files.seal_folder(_seal(checkpoints, step), folder / str(step))
    for older in folder.glob(".seal-*.json"):
      if older != _seal(checkpoints, step):
        older.unlink(missing_ok=True)
  except ValueError as error:  # how a full disk comes out of tensorstore
    if not re.search("RESOURCE_EXHAUSTED|No space left", str(error)):
      raise
    raise OSError(
      errno.ENOSPC, os.strerror(errno.ENOSPC), str(checkpoints.directory)
    ) from error


def restore(
  checkpoints: ocp.CheckpointManager, start: Callable[[], dict]
) -> dict:
  """The last state written, else `start()`, whose shapes it must have.

  A checkpoint that is not what was written is removed: the computation starts
  again, and ends with the same bits.
  """
  step = checkpoints.latest_step()
  if step is None:
    return start()
  seal, folder = _seal(checkpoints, step), pathlib.Path(checkpoints.directory)
  if seal.exists() and not files.folder_intact(seal, folder / str(step)):
    checkpoints.delete(step)
    return start()
  like = jax.eval_shape(start)
  abstract = jax.tree.map(
    lambda leaf: np.empty(leaf.shape, leaf.dtype), _present(like)
  )
  restored = checkpoints.restore(step, args=ocp.args.StandardRestore(abstract))
  return like | restored


def _seal(checkpoints: ocp.CheckpointManager, step: int) -> pathlib.Path:
  return pathlib.Path(checkpoints.directory) / f".seal-{step}.json"


def _present(state: dict) -> dict:
  return {name: tree for name, tree in state.items() if tree is not None}
