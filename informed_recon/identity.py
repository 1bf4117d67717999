"""What makes an experiment the one it is: config, and code that trains."""

import ast
import hashlib
import inspect
import json
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict


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


def flatten(config: ConfigDict) -> dict[str, Any]:
  """Dotted path -> value in its one JSON form, for what enters the hash."""

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
  if "simulation" not in plain.get("stages", ()):
    plain.pop("simulations", None)  # likewise
  return walk("", plain)


def code_hash(modules: Sequence[ModuleType]) -> str:
  """Hash of what modules do: no comments, docstrings or layout, and the same
  under every version of Python."""
  return json_hash([_essence(inspect.getsource(m)) for m in modules])


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
