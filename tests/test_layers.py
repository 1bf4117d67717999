"""Who may import whom: a floor imports only floors below it, plug-ins never
each other, and no import goes round."""

import ast
import pathlib
import sys

import pytest

import informed_recon

PACKAGE = pathlib.Path(informed_recon.__file__).parent
ROOT = PACKAGE.parent
# Rooms of informed_recon from the ground up; those of one line may import each
# other as long as nothing goes round. A new room needs a place.
FLOORS = (
  ("allocator", "compiler", "types", "prng", "registry", "tree", "splits"),
  ("storage", "data", "models", "dp"),
  ("training",),
  ("attacks",),
  ("evaluation",),
  ("experiment", "choices"),
  ("report",),
  ("stages", "audit"),
  ("sweeps",),
  ("configs", "launch", "__main__"),
)
FLOOR = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}
# Folders of files that are found by name and never import each other.
PLUG_INS = (
  "attacks/reconstructor/networks",
  "data",
  "models",
  "report/attacks",
  "report/curves",
  "stages",
  "sweeps/executors",
  "training/mechanisms",
)
HOST_ONLY = ("allocator", "data", "dp", "splits", "types")  # import no jax
HOST_ONLY += ("storage/store", "storage/files", "storage/claims")
HOST_ONLY += ("storage/fill",)
SEE_A_CONFIG = ("experiment", "choices", "stages", "sweeps")
# Folder at the root -> what it may import. Both folders lie inside the package
# once it is installed, and a user may have folders of these names: so none
# names itself, and the faces import one another relatively.
EDGES = {
  "configs": {"informed_recon.configs", "ml_collections"},
  "launch": {".", "informed_recon", "absl", "ml_collections", "jax"}
  | {"tensorflow_datasets", "numpy"},
}
SOURCES = sorted(p for p in PACKAGE.rglob("*.py"))


def _module(path):
  """Dotted name of a file in the package."""
  parts = path.relative_to(ROOT).with_suffix("").parts
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path) for path in SOURCES}


def _imports(path):
  """Full dotted names of what a file imports, at any depth of its code, and
  "FAMILY.*" for the families whose files it finds by name."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      yield from (f"{node.module or '.'}.{a.name}" for a in node.names)
      relative = node.level and path.is_relative_to(PACKAGE)
      assert not relative, f"{path}: relative import"
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
      "registry.find",
      "registry.names",
    ):
      if isinstance(node.args[0], ast.Constant):  # else the name is a user's
        yield f"informed_recon.{node.args[0].value}.*"


def _room(name):
  """Room of a dotted name of ours, or None."""
  parts = name.split(".")
  ours = parts[0] == "informed_recon" and len(parts) > 1
  return parts[1] if ours and parts[1] in FLOOR else None


def _floor_faults(module, names):
  here = FLOOR.get(_room(module), -1)
  above = [n for n in names if _room(n) and FLOOR[_room(n)] > here]
  outside = [
    n for n in names if n.split(".")[0] in ("launch", "configs", "tests")
  ]
  return above + outside


def _plug_in_faults(module, names):
  """A plug-in may use its folder's __init__, never a neighbour."""
  for folder in PLUG_INS:
    family = f"informed_recon.{folder.replace('/', '.')}"
    if module.rpartition(".")[0] == family:
      neighbours = {p.stem for p in (PACKAGE / folder).glob("*.py")}
      neighbours -= {"__init__", module.rpartition(".")[2]}
      return [
        n
        for n in names
        if n.startswith(f"{family}.")
        and n.removeprefix(f"{family}.").split(".")[0] in neighbours
      ]
  return []


def _within(path, places):
  inside = path.relative_to(PACKAGE).with_suffix("").as_posix()
  return any(inside == p or inside.startswith(f"{p}/") for p in places)


def _circle(graph):
  """A circle of modules, or None."""
  state = {}

  def walk(node, trail):
    if state.get(node) == "open":
      return [*trail[trail.index(node) :], node]
    if node in state:
      return None
    state[node] = "open"
    for other in sorted(graph.get(node, ())):
      found = walk(other, [*trail, node])
      if found:
        return found
    state[node] = "done"
    return None

  return next(filter(None, (walk(n, []) for n in sorted(graph))), None)


def _graph():
  """Module -> modules of ours that it imports or looks up by name. A family's
  own `__init__` holds the contract of its plug-ins, which may import it."""
  graph = {}
  for path in SOURCES:
    module, needs = _module(path), set()
    for name in _imports(path):
      if not name.startswith("informed_recon."):
        continue
      known = name if name in MODULES else name.rpartition(".")[0]
      needs |= {known}
      if name.endswith(".*") and module != known:
        folder = known.removeprefix("informed_recon.").replace(".", "/")
        needs |= {_module(p) for p in (PACKAGE / folder).glob("*.py")}
    needs -= {module}
    graph[module] = needs
  return graph


def test_every_room_has_a_floor():
  rooms = {p.relative_to(PACKAGE).with_suffix("").parts[0] for p in SOURCES}
  assert rooms - {"__init__"} == set(FLOOR)


def test_floors_plug_ins_and_configs():
  faults = []
  for path in SOURCES:
    module, names = _module(path), list(_imports(path))
    first = {name.split(".")[0] for name in names}
    if module != "informed_recon":
      faults += [(module, n) for n in _floor_faults(module, names)]
    faults += [(module, n) for n in _plug_in_faults(module, names)]
    if _within(path, HOST_ONLY):
      heavy = first & {"jax", "jaxlib", "flax", "optax", "orbax"}
      faults += [(module, n) for n in heavy]
    if "ml_collections" in first and not _within(path, SEE_A_CONFIG):
      faults.append((module, "ml_collections"))
    if "absl" in first:
      faults.append((module, "absl"))
  assert not faults


@pytest.mark.parametrize("folder", sorted(EDGES))
def test_the_edges_import_what_they_may(folder):
  may = EDGES[folder] | set(sys.stdlib_module_names)
  for path in sorted((ROOT / folder).rglob("*.py")):
    extra = [
      name
      for name in _imports(path)
      if not any(name == m or name.startswith(f"{m.rstrip('.')}.") for m in may)
    ]
    assert not extra, f"{path}: {extra}"


def test_the_map_in_the_readme_is_the_code():
  """Its rooms are those of the package, its rows go up the floors, and its
  last line names the folders beside the package."""
  text = (ROOT / "README.md").read_text().partition("## Map of the code")[2]
  first, *rows, beside = text.split("```")[3].strip().splitlines()
  assert first == "informed_recon/"
  rooms = [
    word.rstrip("/")
    for row in rows
    if row[2] != " "  # a further line of the row before
    for word in row.strip().split("   ")[0].split()
  ]
  assert sorted(rooms) == sorted(FLOOR)
  assert [FLOOR[r] for r in rooms] == sorted(FLOOR[r] for r in rooms)
  folders = {p.name for p in ROOT.iterdir() if p.is_dir()}
  assert {name.rstrip("/") for name in beside.split()} <= folders
  assert set(EDGES) <= {name.rstrip("/") for name in beside.split()}


def test_no_import_goes_round():
  assert _circle(_graph()) is None


def test_the_rules_see_what_they_forbid():
  """The walk itself, on imports that break each rule."""
  model = "informed_recon.models.mlp"
  for name in ("informed_recon.stages.shadow", "informed_recon.training"):
    assert _floor_faults(model, [name])
  assert _floor_faults(model, ["launch.app"])
  assert _plug_in_faults(model, ["informed_recon.models.linear.Network"])
  assert not _plug_in_faults(model, ["informed_recon.models.activation"])
  assert not _floor_faults(model, ["informed_recon.types.UserError", "jax"])
  assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) == ["a", "b", "c", "a"]


def test_benches_that_tests_import_define_no_flags():
  """absl's flags are the process's: two such benches in one cannot be."""
  used = set()
  for path in (ROOT / "tests").rglob("*.py"):
    used |= {n for n in _imports(path) if n.startswith("bench.")}
  for name in used:
    file = ROOT / "bench" / f"{name.split('.')[1]}.py"
    assert not file.exists() or "absl" not in {
      n.split(".")[0] for n in _imports(file)
    }, file
  assert used
