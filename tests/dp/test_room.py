"""What holds for every file of the room: doctests pass, jax stays out."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import informed_recon.dp

MODULES = [
  f"informed_recon.dp.{module.name}"
  for module in pkgutil.iter_modules(informed_recon.dp.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name):
  assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_public_functions_carry_an_example():
  doors = ("accounting", "bounds", "converse", "monte_carlo", "planner")
  for door in (*doors, "priors"):
    module = importlib.import_module(f"informed_recon.dp.{door}")
    for name, value in vars(module).items():
      own = getattr(value, "__module__", None) == module.__name__
      if own and inspect.isfunction(value) and not name.startswith("_"):
        assert ">>>" in value.__doc__, name


def test_the_room_does_not_bring_in_jax():
  code = "".join(f"import {name}\n" for name in MODULES)
  code += "import sys; sys.exit('jax' in sys.modules)"
  assert subprocess.run([sys.executable, "-c", code]).returncode == 0
