"""Name -> module: to add a plug-in is to add its file, here or anywhere."""

import hashlib
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

from informed_recon.types import UserError


def names(family: str) -> list[str]:
  """File names in the folder of a family, such as "training.mechanisms",
  sorted; folders in it are no plug-ins."""
  package = importlib.import_module(f"informed_recon.{family}")
  modules = pkgutil.iter_modules(package.__path__)
  return sorted(m.name for m in modules if not m.ispkg)


def find(family: str, name: str) -> ModuleType:
  """The plug-in of a family that a config names.

  Args:
    family: folder in the package, such as "models". The `EXPORTS` in its
      `__init__` are what each of its plug-ins must have.
    name: of a file in that folder; or the path of a file outside the package,
      "path/to/file.py"; or a module on Python's path, "package.module".

  Raises:
    UserError: nothing of that name (the known are listed), a file that cannot
      be imported, or one that lacks what its family must have.
  """
  known = names(family)
  if name in known:
    return importlib.import_module(f"informed_recon.{family}.{name}")
  kind = family.rpartition(".")[2].rstrip("s")
  if name.endswith(".py"):
    module = load_file(pathlib.Path(name), kind)
  elif _is_module(name):
    module = _imported(name, kind, lambda: importlib.import_module(name))
  else:
    raise UserError(
      f"unknown {kind} {name!r}; known: {', '.join(known)}, "
      "or the path of a file of yours, or a module"
    )
  package = importlib.import_module(f"informed_recon.{family}")
  for symbol in getattr(package, "EXPORTS", ()):
    if not hasattr(module, symbol):
      raise UserError(f"{kind} {name!r} has no {symbol!r}; see docs/extend.md")
  return module


def _is_module(name: str) -> bool:
  if not re.fullmatch(r"[^\W_]\w*(\.[^\W_]\w*)*", name):
    return False
  try:
    return importlib.util.find_spec(name) is not None
  except (ImportError, ValueError):
    return False


def load_file(path: pathlib.Path, kind: str) -> ModuleType:
  """A file as a module of its own, imported once a process.

  It may import its neighbours, at any time, so that its folder stays on
  Python's path; behind all else, for a neighbour called like a library, such as
  sklearn.py, must not take its place.

  Args:
    path: of a file *.py.
    kind: what it is, for the message.

  Raises:
    UserError: no such file, or one that cannot be imported.
  """
  path = path.resolve()
  if not path.is_file():
    raise UserError(f"{kind}: no file {path}")
  stem = re.sub(r"\W", "_", path.stem)
  name = f"{stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
  if name not in sys.modules:
    if str(path.parent) not in sys.path:
      sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
      _imported(str(path), kind, lambda: spec.loader.exec_module(module))
    except UserError:
      del sys.modules[name]
      raise
  return sys.modules[name]


def _imported(what: str, kind: str, load: Callable[[], Any]) -> Any:
  try:
    return load()
  except Exception as error:  # whatever a user's file may raise
    raise UserError(
      f"{kind} {what!r} cannot be imported: {type(error).__name__}: {error}"
      + _place(error, what)
    ) from error


def _place(error: Exception, what: str) -> str:
  """Where the file, or a neighbour of its own, was left by an error."""
  if isinstance(error, SyntaxError):  # says it itself
    return ""
  folder = pathlib.Path(what).parent
  own = [
    frame
    for frame in traceback.extract_tb(error.__traceback__)
    if pathlib.Path(frame.filename).parent == folder
  ]
  if not own:
    return ""
  return f" ({pathlib.Path(own[-1].filename).name}, line {own[-1].lineno})"
