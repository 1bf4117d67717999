"""Name -> module, by file name: to add a plug-in is to add its file."""

import importlib
import pkgutil
from types import ModuleType

from informed_recon.types import UserError


def names(family: str) -> list[str]:
  """File names in the folder of a family, such as "training.mechanisms",
  sorted; folders in it are no plug-ins."""
  package = importlib.import_module(f"informed_recon.{family}")
  modules = pkgutil.iter_modules(package.__path__)
  return sorted(m.name for m in modules if not m.ispkg)


def find(family: str, name: str) -> ModuleType:
  """Module `informed_recon.<family>.<name>`; an error lists the known."""
  known = names(family)
  if name not in known:
    kind = family.rpartition(".")[2].rstrip("s")
    raise UserError(f"unknown {kind} {name!r}; known: {', '.join(known)}")
  return importlib.import_module(f"informed_recon.{family}.{name}")
