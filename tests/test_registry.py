"""Plug-ins by file name."""

import inspect
import sys

import pytest

from informed_recon import registry
from informed_recon.types import UserError


@pytest.mark.parametrize(
  "family", ["data", "models", "attacks.reconstructor.networks"]
)
def test_all_names_are_found(family):
  known = registry.names(family)
  assert known == sorted(known) and known
  for name in known:
    module = registry.find(family, name)
    assert module.__name__ == f"informed_recon.{family}.{name}"


@pytest.mark.parametrize("name", ["nonsense", "", "__init__", "mlp.Network"])
def test_an_unknown_name_lists_the_known(name):
  with pytest.raises(UserError, match="unknown model .*; known: .*linear, mlp"):
    registry.find("models", name)


def test_a_file_or_a_module_outside_the_package(tmp_path, monkeypatch):
  path = tmp_path / "own_curve.py"
  path.write_text("def draw(results):\n  return None\n")
  module = registry.find("report.curves", str(path))
  assert module is registry.find("report.curves", str(path))  # once a process
  assert "def draw" in inspect.getsource(module)
  monkeypatch.syspath_prepend(tmp_path)
  assert registry.find("report.curves", "own_curve").draw
  (tmp_path / "broken.py").write_text("import nowhere_at_all\n")
  (tmp_path / "empty.py").write_text("")
  for name, message in {
    "broken.py": "cannot be imported: ModuleNotFoundError: .*nowhere_at_all",
    "empty.py": "has no 'draw'",
    "missing.py": "no file .*missing.py",
  }.items():
    with pytest.raises(UserError, match=message):
      registry.find("report.curves", str(tmp_path / name))


def test_a_file_imports_its_neighbours(tmp_path, monkeypatch):
  monkeypatch.setattr(sys, "path", [*sys.path])
  (tmp_path / "neighbour_of_mine.py").write_text("A = 1\n")
  (tmp_path / "later_neighbour.py").write_text("A = 2\n1 / 0\n")
  (tmp_path / "json.py").write_text("1 / 0\n")  # called like a library
  path = tmp_path / "own.py"
  path.write_text(
    "import json\nfrom neighbour_of_mine import A\n"
    "def draw(results):\n  import later_neighbour\n"
  )
  module = registry.find("report.curves", str(path))
  assert module.A == 1
  with pytest.raises(ZeroDivisionError):
    module.draw(None)
  (tmp_path / "other.py").write_text("import later_neighbour\n")
  with pytest.raises(UserError, match=r"\(later_neighbour.py, line 2\)"):
    registry.find("report.curves", str(tmp_path / "other.py"))


def test_a_new_file_is_found(tmp_path, monkeypatch):
  from informed_recon import models

  (tmp_path / "brand_new.py").write_text("HERE = True\n")
  monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
  assert "brand_new" in registry.names("models")
  assert registry.find("models", "brand_new").HERE
