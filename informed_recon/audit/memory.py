"""What earlier audits of a release found: a second call goes on from there.

It is kept in the process, and in `FOLDER/audit-DIGEST.npz` where a folder is
given. The digest is that of the release and its records, so that audits of
several releases may share a folder and none takes up another's answers.
"""

import hashlib
import pathlib
from typing import NamedTuple

import numpy as np

from informed_recon.audit.simulated import SEARCH, Found
from informed_recon.storage import files

_memories: dict[str, "Memory"] = {}


class Memory(NamedTuple):
  """Answers about one release; both are filled in place."""

  found: dict[int, Found]  # of searches that came to their end
  influence: np.ndarray  # (n,) NaN where it was not measured
  path: pathlib.Path | None


def recall(workdir, theta, x, y, kind: str) -> Memory:
  """What is known of a release.

  Args:
    workdir: folder to read from and to keep answers in, or None.
    theta: (P,) the release.
    x: all records.
    y: all labels.
    kind: what else the answers depend on.

  Raises:
    UserError: the folder cannot be made, or its file is damaged.
  """
  digest = _digest(theta, x, y, kind)
  path = None
  if workdir is not None:
    path = pathlib.Path(workdir) / f"audit-{digest[:16]}.npz"
    files.make_folder(path.parent)
  known = _memories.get(digest)
  if known is None:
    known = Memory({}, np.full(len(x), np.nan), None)
  if path and path.exists():
    kept = files.read_arrays(path)
    missing = np.isnan(known.influence)
    known.influence[missing] = kept["influence"][missing]
    columns = (kept[field] for field in Found._fields)
    for record, *row in zip(kept["record"], *columns):
      known.found.setdefault(int(record), Found(*map(_plain, row)))
  _memories[digest] = memory = known._replace(path=path)
  return memory


def keep(memory: Memory) -> None:
  """Writes what is known, where there is a folder for it."""
  if memory.path is None:
    return
  rows = list(memory.found.values())
  columns = {
    field: np.array([getattr(row, field) for row in rows])
    for field in Found._fields
  }
  files.write_arrays(
    memory.path,
    influence=memory.influence,
    record=np.array(list(memory.found), int),
    **columns,
  )


def _plain(value):
  """A row of an array as it was before it was put into one."""
  return value.item() if np.ndim(value) == 0 else value


def _digest(theta, x, y, kind: str) -> str:
  state = hashlib.sha256(f"{kind} {SEARCH} {Found._fields}".encode())
  for a in (theta, x, y):
    state.update(f"{a.shape} {a.dtype}".encode())
    state.update(np.ascontiguousarray(a).tobytes())
  return state.hexdigest()
