"""A user's own arrays: an `.npz` with `x` (n, ...) in [0, 1] and `y` (n,).

`x` of 8 or 16 bits is scaled by its range. The number of classes is
`num_classes` where the file holds it (0 for a real response), else the largest
label plus one.
"""

import pathlib
import zipfile
import zlib

import numpy as np

from informed_recon import data
from informed_recon.types import Records, UserError

DAMAGED = (zipfile.BadZipFile, zlib.error)


def arrays(name: str, flag: str) -> dict[str, np.ndarray]:
  """What the file `name` holds, `x` and `y` at least; `flag` gives its name.

  Raises:
    UserError: no such file, or another kind of file.
  """
  path = pathlib.Path(name)
  if not name or not path.is_file():
    raise UserError(f"no data file {name!r}; give one with {flag}=FILE.npz")
  if not zipfile.is_zipfile(path):
    raise UserError(
      f"{path} is not a plain .npz of arrays; write it with "
      "numpy.savez(path, x=x, y=y)"
    )
  try:
    file = np.load(path, allow_pickle=False)
    if isinstance(file, np.ndarray):
      raise ValueError("it holds one array without a name")
    with file:
      found = dict(file)
  except (ValueError, EOFError, OSError, *DAMAGED) as error:
    raise UserError(
      f"{path} is not a plain .npz of arrays ({error}); "
      "write it with numpy.savez(path, x=x, y=y)"
    ) from None
  if not {"x", "y"} <= found.keys():
    raise UserError(
      f"{path} holds {sorted(found)}; it must hold arrays 'x' and 'y'"
    )
  return found


def load(spec: data.DataSpec) -> data.Dataset:
  found = arrays(spec.path, "--config.data.path")
  path, x, y = pathlib.Path(spec.path), found["x"], found["y"]
  if x.dtype.name in data.WHITE:
    x = data.images(x)
  elif x.ndim == 3:
    x = x[..., None]
  if not (np.issubdtype(x.dtype, np.floating) and y.size):
    raise UserError(
      f"{path}: x must be uint8, uint16, bool or float and not empty"
    )
  # Labels that are no integers are refused by name in `data.load`, unless the
  # file says num_classes=0: a real response.
  integers = np.issubdtype(y.dtype, np.integer)
  classes = found.get("num_classes", int(y.max()) + 1 if integers else 1)
  if np.shape(classes) or not np.issubdtype(
    np.result_type(classes), np.integer
  ):
    raise UserError(f"{path}: num_classes must be one integer")
  return data.Dataset(path.stem, Records(x, y), int(classes))
