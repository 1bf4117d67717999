"""What makes an experiment the one it is: its config, the settings of jax that
decide bits, and the code that trains."""

import ast
import contextlib
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Iterable, Sequence
from types import ModuleType
from typing import Any

import jax
from ml_collections import ConfigDict


def numerics() -> dict[str, str]:
  """Global settings of jax that decide bits, where they are not the usual."""
  usual = dict(
    jax_enable_x64=False,
    jax_default_matmul_precision=None,
    jax_threefry_partitionable=True,
  )
  changed = {k: getattr(jax.config, k) for k in usual}
  changed = {k: v for k, v in changed.items() if v != usual[k]}
  text = ", ".join(f"{k}={v}" for k, v in changed.items())
  return dict(settings=text) if text else {}


# Settings that change nothing at these values. They are then no part of the
# hash: runs older than the setting stay what they are.
IDLE = {
  "data.shadow_classes": 0,
  "threat.initialisations": 0,
  "training.ema": 0.0,
  "truth.rate": 1.0,
  "truth.more_steps": 0,
  "truth.other_seed": False,
  "truth.replaced": 0,
  "truth.missing": 0,
  "release.layers": "",
  "release.format": "float32",
  "release.pruned": 0.0,
  "simulations.*.search_rate": 0.0,  # of each entry
}


# Settings that put other records into the training of the released models.
OTHERS = {"truth.replaced", "truth.missing"}


def config_hash(config: ConfigDict, groups: Sequence[str] = ()) -> str:
  """Hash of what changes the answer: everything but `perf`, the title and the
  settings of a privacy mechanism that is not used.

  With `groups`, of these top-level groups alone.
  """
  flat = flatten(config)
  if groups:
    flat = {k: v for k, v in flat.items() if k.split(".")[0] in groups}
  return json_hash(flat)


def json_hash(value: Any) -> str:
  text = json.dumps(value, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(config: ConfigDict, group: str = "") -> dict[str, Any]:
  """Dotted path -> value in its one JSON form, for what enters the hash.

  With `group`, of this top-level group alone.
  """

  def walk(prefix: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
      return {prefix: value}
    return {
      path: leaf
      for key in value
      for path, leaf in walk(f"{prefix}.{key}".lstrip("."), value[key]).items()
    }

  plain = json.loads(json.dumps(config.to_dict()))
  for name in ("perf", "title"):
    plain.pop(name, None)
  training = plain.get("training", {})
  if training.get("privacy", {}).get("mechanism") == "none":
    del training["privacy"]  # idle, and runs older than it stay what they are
  for stage, own in (
    ("simulation", "simulations"),
    ("stationarity", "stationarity"),
  ):
    if stage not in plain.get("stages", ()):
      plain.pop(own, None)  # likewise
  flat = walk("", {group: plain[group]} if group else plain)
  flat = {k: v for k, v in flat.items() if not _idle(k, v)}
  if OTHERS & flat.keys():
    flat["truth.others"] = "unused"  # of old runs: records of split.accuracy
  return flat


def _idle(path: str, value: Any) -> bool:
  path = re.sub(r"^simulations\.[^.]+", "simulations.*", path)
  return path in IDLE and value == IDLE[path]


def code_hash(roots: Iterable[ModuleType]) -> str:
  """Hash of what modules and all they import of this package do: no comments,
  docstrings or layout, and the same under every version of Python."""
  return json_hash([_essence(inspect.getsource(m)) for m in imported(roots)])


# What modules say of each other; no number depends on it.
_CONTRACTS = (
  "informed_recon",
  "informed_recon.types",
  "informed_recon.registry",
)


def imported(roots: Iterable[ModuleType]) -> list[ModuleType]:
  """Modules and all of this package that they import, wherever in their code,
  ordered by name."""
  found, left = {}, list(roots)
  while left:
    module = left.pop()
    if module.__name__ in _CONTRACTS or module.__name__ in found:
      continue
    found[module.__name__] = module
    for node in ast.walk(ast.parse(inspect.getsource(module))):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        names.append(node.module or "")
      else:
        continue
      for name in names:
        # Imported here: what is not loaded yet is no less a part of the code.
        # Names of things in a module, and extras not installed, have none.
        if name.split(".")[0] == "informed_recon":
          with contextlib.suppress(ImportError):
            left.append(importlib.import_module(name))
  return [found[name] for name in sorted(found)]


def _essence(source: str) -> Any:
  """Syntax tree as lists. Empty fields are left out: newer versions have more
  of them. (How `ast.unparse` quotes depends on the version.)"""

  def walk(node: Any) -> Any:
    if isinstance(node, list):
      return [walk(item) for item in node]
    if not isinstance(node, ast.AST):
      return repr(node)
    fields = [
      [name, walk(value)]
      for name, value in ast.iter_fields(node)
      if value not in (None, [])
    ]
    return [type(node).__name__, *fields]

  module = ast.parse(source)
  for node in ast.walk(module):
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
      if ast.get_docstring(node, clean=False) is not None:
        node.body[0] = ast.Pass()
  return walk(module)
