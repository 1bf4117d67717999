"""Who may import whom: a floor imports only floors below it."""

import ast
import pathlib
import sys

import pytest

import informed_recon

PACKAGE = pathlib.Path(informed_recon.__file__).parent
ROOT = PACKAGE.parent
# Floor of each module or folder of informed_recon; a new one needs a place.
GROUND, PARTS, WORK, STAGES = range(4)
FLOORS = {
  "types": GROUND,
  "prng": GROUND,
  "registry": GROUND,
  "tree": GROUND,
  "mesh": GROUND,
  "files": GROUND,
  "claims": GROUND,
  "convolution": GROUND,
  "checkpoints": GROUND,
  "optimizers": PARTS,
  "splits": PARTS,
  "store": PARTS,
  "upkeep": PARTS,
  "standard": PARTS,
  "metrics": PARTS,
  "originals": PARTS,
  "data": PARTS,
  "glm": PARTS,
  "models": PARTS,
  "dp": PARTS,
  "training": WORK,
  "perceptual": WORK,
  "mechanisms": WORK,
  "reconstructors": WORK,
  "attacks": WORK,
  "identification": WORK,
  "roc": WORK,
  "baselines": WORK,
  "report": STAGES,
  "curves": STAGES,
  "sweeps": STAGES,
  "executors": STAGES,
  "identity": STAGES,
  "stages": STAGES,
}
# Attacks and dp are called by name in code, and build on each other.
PLUG_INS = ("data", "models", "mechanisms", "reconstructors", "stages")
PLUG_INS += ("curves", "executors")
HOST_ONLY = (
  "dp",
  "splits",
  "store",
  "files",
  "claims",
  "types",
  "data",
  "standard",
)
EDGES = {  # folder at the root -> first names it may import
  "configs": {"configs", "ml_collections"},
  "launch": {"launch", "informed_recon", "absl", "ml_collections", "jax"}
  | {"tensorflow_datasets", "configs", "submitit"},
}


def _imports(path):
  """Full dotted names of what a file imports, at any depth."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f"{path}: relative import"
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


def _sources(folder):
  return sorted(p for p in folder.rglob("*.py"))


def _place(path):
  """First folder or module name below informed_recon/."""
  return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _own(name):
  """Place of an imported name of ours, or None."""
  parts = name.split(".")
  if parts[0] != "informed_recon" or len(parts) < 2:
    return None
  return parts[1] if parts[1] in FLOORS else None


SOURCES = [p for p in _sources(PACKAGE) if p != PACKAGE / "__init__.py"]


def test_every_module_has_a_floor():
  assert {_place(p) for p in SOURCES} == set(FLOORS)


def _floor_faults(path, names):
  here = FLOORS[_place(path)]
  above = [n for n in names if _own(n) and FLOORS[_own(n)] > here]
  outside = [
    n for n in names if n.split(".")[0] in ("launch", "configs", "tests")
  ]
  return above + outside


def _plug_in_faults(path, names):
  """A plug-in may use its folder's __init__, never a neighbour."""
  folder = _place(path)
  if folder not in PLUG_INS or path.parent == PACKAGE:
    return []
  neighbours = {p.stem for p in path.parent.glob("*.py")} - {"__init__"}
  prefix = f"informed_recon.{folder}."
  return [
    n
    for n in names
    if n.startswith(prefix)
    and n.removeprefix(prefix).split(".")[0] in neighbours - {path.stem}
  ]


def _ids(path):
  return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=_ids)
def test_a_floor_imports_only_floors_below(path):
  assert _floor_faults(path, list(_imports(path))) == []


@pytest.mark.parametrize("path", SOURCES, ids=_ids)
def test_plug_ins_do_not_import_each_other(path):
  assert _plug_in_faults(path, list(_imports(path))) == []


@pytest.mark.parametrize(
  "path", [p for p in SOURCES if _place(p) in HOST_ONLY], ids=_ids
)
def test_the_host_side_imports_no_jax(path):
  first = {name.split(".")[0] for name in _imports(path)}
  assert not first & {"jax", "jaxlib", "flax", "optax", "orbax"}


@pytest.mark.parametrize("path", SOURCES, ids=_ids)
def test_only_stages_see_a_config(path):
  first = {name.split(".")[0] for name in _imports(path)}
  places = ("stages", "sweeps", "identity")
  assert "ml_collections" not in first or _place(path) in places
  assert "absl" not in first


@pytest.mark.parametrize("folder", sorted(EDGES))
def test_the_edges_import_what_they_may(folder):
  for path in _sources(ROOT / folder):
    first = {name.split(".")[0] for name in _imports(path)}
    extra = first - EDGES[folder] - set(sys.stdlib_module_names)
    assert not extra, f"{path}: {extra}"


def test_the_rules_see_what_they_forbid():
  """The walk itself, on imports that break each rule."""
  model = PACKAGE / "models/mlp.py"
  for name in ("informed_recon.stages.shadow", "informed_recon.training"):
    assert _floor_faults(model, [name])
  assert _floor_faults(model, ["launch.app"])
  assert _plug_in_faults(model, ["informed_recon.models.linear.Network"])
  assert not _plug_in_faults(model, ["informed_recon.models.activation"])
  assert not _floor_faults(model, ["informed_recon.types.UserError", "jax"])
