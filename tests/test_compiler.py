"""What XLA is told about the programs that train."""

import jax
import jax.numpy as jnp
import pytest

from informed_recon import compiler


def test_a_level_in_xla_flags_is_obeyed(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "")
  assert compiler.options()[compiler.LEVEL] == "2"
  monkeypatch.setenv("XLA_FLAGS", f"--{compiler.LEVEL}=1")
  assert compiler.LEVEL not in compiler.options()


@pytest.mark.parametrize("told", [compiler.options, compiler.unrun])
def test_the_options_are_known_to_the_compiler(monkeypatch, told):
  monkeypatch.setenv("XLA_FLAGS", "")
  double = jax.jit(lambda x: 2 * x, compiler_options=told())
  assert double(jnp.ones(3)).sum() == 6
