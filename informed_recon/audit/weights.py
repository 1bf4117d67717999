"""Parameters of a released model from a file, never by pickle."""

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from informed_recon.storage import files
from informed_recon.types import UserError

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
# What a torch layer calls its arrays, by their number of axes -> our name, and
# the order of axes: Linear (out, in), Conv2d (out, in, h, w), norms (c,).
TORCH = {
  ("weight", 1): ("scale", (0,)),
  ("weight", 2): ("kernel", (1, 0)),
  ("weight", 4): ("kernel", (2, 3, 1, 0)),
  ("bias", 1): ("bias", (0,)),
  ("running_mean", 1): ("mean", (0,)),
  ("running_var", 1): ("var", (0,)),
}


def load(path) -> Any:
  """Parameters from .npz, .safetensors, .msgpack or a folder of orbax.

  Names of an .npz with "/" in them become nested dictionaries.

  Raises:
    UserError: no such file, one that cannot be read, or a pickle.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise UserError(f"there is no {path}")
  if path.suffix in PICKLED:
    raise UserError(
      f"{path} may be a pickle, which can run any code; save the weights by "
      "safetensors.torch.save_file and give that file"
    )
  readers = {
    ".npz": lambda: nested(files.read_arrays(path)),
    ".safetensors": lambda: _safetensors(path),
    ".msgpack": lambda: _msgpack(path),
  }
  if not path.is_dir() and path.suffix not in readers:
    raise UserError(
      f"cannot tell the format of {path}; known: {', '.join(readers)} and a "
      "folder of orbax"
    )
  read = (lambda: _orbax(path)) if path.is_dir() else readers[path.suffix]
  try:
    return read()
  except UserError:
    raise
  except Exception as error:  # whatever a reader may raise
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise UserError(f"{path} cannot be read: {reason[:200]}") from error


def _safetensors(path: pathlib.Path) -> dict:
  try:
    from safetensors.numpy import load_file
  except ImportError:
    raise UserError(
      "reading .safetensors needs: pip install safetensors"
    ) from None
  return nested(load_file(path), ".")


def _msgpack(path: pathlib.Path) -> Any:
  from flax import serialization

  return serialization.msgpack_restore(path.read_bytes())


def _orbax(path: pathlib.Path) -> Any:
  import orbax.checkpoint as ocp

  with ocp.StandardCheckpointer() as reader:
    return reader.restore(path.resolve())


def nested(arrays: Mapping[str, np.ndarray], mark: str = "/") -> dict:
  """{"a/b": array} -> {"a": {"b": array}}."""
  tree: dict = {}
  for name, value in arrays.items():
    *folders, last = name.split(mark)
    at = tree
    for folder in folders:
      at = at.setdefault(folder, {})
    at[last] = value
  return tree


def from_torch(state: Mapping, like: Any) -> Any:
  """A torch state dict as parameters of the structure of `like`.

  Linear, Conv2d and norm layers have their axes turned. A layer goes to the
  first of its kind and shape that is not taken yet, in the order of both; where
  that order is not the same, rename the layers. The features behind a
  convolution are flattened as (c, h, w) by torch and as (h, w, c) here: an
  architecture that does so must transpose first.

  Args:
    state: nested or with names such as "fc.weight".
    like: parameters of the same architecture, such as a fresh `init`.

  Raises:
    UserError: an array that has no place, or a place without an array.
  """
  flat = dict(_flat(state))
  waiting = []
  for name, a in flat.items():
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
      continue
    if (kind, a.ndim) not in TORCH:
      raise UserError(f"no mapping for {name!r} of shape {a.shape}")
    ours, axes = TORCH[kind, a.ndim]
    waiting.append((name, ours, a.transpose(axes)))

  def place(path, leaf):
    ours = jax.tree_util.keystr(path[-1:], simple=True)
    for k, (_, kind, a) in enumerate(waiting):
      if kind == ours and a.shape == np.shape(leaf):
        del waiting[k]
        return a
    where = jax.tree_util.keystr(path, simple=True, separator="/")
    raise UserError(
      f"the state dict has no {ours} of shape {np.shape(leaf)} for {where}"
    )

  placed = jax.tree_util.tree_map_with_path(place, like)
  if waiting:
    raise UserError(f"no place for {waiting[0][0]!r} in the architecture")
  return placed


def _flat(state: Mapping, before: str = "") -> Iterator:
  """Names and arrays in the order of the dictionary, which jax would sort."""
  for name, value in state.items():
    if isinstance(value, Mapping):
      yield from _flat(value, f"{before}{name}.")
    else:
      value = value.detach().cpu() if hasattr(value, "detach") else value
      yield f"{before}{name}", np.asarray(value)
