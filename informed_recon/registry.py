"""Name -> module, by file name: to add a plug-in is to add its file."""

import importlib
import pkgutil
from types import ModuleType

from informed_recon.types import UserError


def names(family: str) -> list[str]:
  """File names in `informed_recon/<family>/`, sorted."""
  package = importlib.import_module(f"informed_recon.{family}")
  return sorted(m.name for m in pkgutil.iter_modules(package.__path__))


def find(family: str, name: str) -> ModuleType:
  """Module `informed_recon.<family>.<name>`; an error lists the known."""
  known = names(family)
  if name not in known:
    raise UserError(
      f"unknown {family.rstrip('s')} {name!r}; known: {', '.join(known)}"
    )
  return importlib.import_module(f"informed_recon.{family}.{name}")
