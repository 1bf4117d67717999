import importlib
import sys
import types

import jax
import numpy as np
import pytest

import informed_recon
from informed_recon import experiment as experiments
from informed_recon import stages
from informed_recon.experiment import identity
from informed_recon.models import convnet
from informed_recon.training import loop
from informed_recon.training.mechanisms import none
from informed_recon.types import UserError

SOURCE = '''
"""What it is."""

def shout(name, times=2):
  """Says it."""
  return f"{name!r}: {', '.join([name] * times)}"  # often
'''


@pytest.fixture
def code_hash(monkeypatch):
  """Of a text."""
  monkeypatch.setattr(identity.inspect, "getsource", lambda module: module.text)
  return lambda text: identity.code_hash(
    [types.SimpleNamespace(text=text, __name__="some")]
  )


def test_code_hash_is_that_of_any_python(code_hash):
  """Versions differ in how they write such a string, and in empty fields."""
  assert code_hash(SOURCE) == "0adbc8d0822893a4"


def test_code_hash_is_of_what_the_code_does(code_hash):
  same = SOURCE.replace("it.", "that.").replace("# often", "")
  assert code_hash(same) == code_hash(SOURCE)
  assert code_hash(SOURCE.replace("times=2", "times=3")) != code_hash(SOURCE)


def test_the_code_behind_a_store_is_found_by_its_imports():
  """Plug-ins, what they import inside functions, and nothing that only says
  what types there are."""
  names = {m.__name__ for m in identity.imported([loop, none, convnet])}
  wanted = "loop recipe optimizers microbatch fast fast.first_layer"
  wanted += " fast.full_batch fast.relative_to_base fast.transposed"
  assert {f"informed_recon.training.{name}" for name in wanted.split()} <= names
  assert "informed_recon.models.layers.convolution" in names
  assert "informed_recon.types" not in names
  assert not any("attacks" in name or "stages" in name for name in names)


def test_a_lazy_import_counts_before_it_has_run(tmp_path, monkeypatch):
  paths = [*informed_recon.__path__, str(tmp_path)]
  monkeypatch.setattr(informed_recon, "__path__", paths)
  lazy = "def f():\n  from informed_recon import lazily_imported"
  (tmp_path / "lazy.py").write_text(lazy)
  (tmp_path / "lazily_imported.py").write_text("ONE = 1")
  root = importlib.import_module("informed_recon.lazy")
  names = [m.__name__ for m in identity.imported([root])]
  assert names == ["informed_recon.lazily_imported", "informed_recon.lazy"]
  for name in names:
    del sys.modules[name]


@pytest.mark.parametrize(
  "setting, value",
  [
    ("jax_threefry_partitionable", False),
    ("jax_default_matmul_precision", "bfloat16"),
  ],
)
def test_a_global_setting_that_decides_bits_makes_another_run(
  tiny_config, tmp_path, setting, value
):
  usual = getattr(jax.config, setting)
  experiments.enter(stages.build(tiny_config(), tmp_path / "run"))
  try:
    jax.config.update(setting, value)
    other = stages.build(tiny_config(), tmp_path / "run")
    with pytest.raises(UserError, match=f"{setting}={value}"):
      experiments.enter(other)
  finally:
    jax.config.update(setting, usual)
  experiments.enter(stages.build(tiny_config(), tmp_path / "run"))


def test_float64_is_refused_before_anything_is_written(tiny_config, tmp_path):
  with jax.enable_x64(True):
    with pytest.raises(UserError, match="unset JAX_ENABLE_X64"):
      stages.build(tiny_config(), tmp_path / "run")


def test_a_setting_without_effect_is_no_part_of_the_hash(tiny_config):
  """Runs older than such a setting stay what they are."""
  config = tiny_config()
  new = identity.config_hash(config)
  with config.unlocked():
    del config.truth, config.release, config.training.ema
    del config.threat.initialisations, config.data.shadow_classes
  assert identity.config_hash(config) == new


def test_what_the_released_models_saw(tiny_config, tmp_path):
  """Where the adversary is wrong about it."""
  changes = {
    "truth.rate": 1.5,
    "truth.more_steps": 2,
    "truth.replaced": 3,
    "truth.missing": 4,
  }
  mine = stages.build(tiny_config(**changes), tmp_path)
  true = mine.truth()
  assert mine.misled and true.training()[1].learning_rate == 0.1 * 1.5
  assert true.training()[0].steps == mine.training()[0].steps + 2
  n = len(mine.split.fixed)
  assert len(true.split.fixed) == n + 4
  np.testing.assert_array_equal(
    true.split.fixed[: n - 3], mine.split.fixed[:-3]
  )
  others = true.split.fixed[n - 3 :]
  nobody_else = set(mine.split.unused) - set(true.split.unused)
  assert set(others) == nobody_else and len(others) == 7
  np.testing.assert_array_equal(true.split.accuracy, mine.split.accuracy)
  np.testing.assert_array_equal(true.split.targets, mine.split.targets)
  more = stages.build(tiny_config(**changes, **{"split.shadow": 60}), tmp_path)
  np.testing.assert_array_equal(more.truth().split.fixed, true.split.fixed)
  # Runs of old, whose others were of split.accuracy, are not gone on with.
  assert identity.flatten(mine.config)["truth.others"] == "unused"
  plain = stages.build(tiny_config(), tmp_path)
  assert "truth.others" not in identity.flatten(plain.config)
  assert not plain.misled and plain.truth() is plain
  seeded = stages.build(tiny_config(**{"truth.other_seed": True}), tmp_path)
  assert seeded.truth().key != seeded.key == plain.key


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"truth.rate": 0.0}, "truth wants a positive rate"),
    ({"truth.replaced": 30}, "truth.replaced must be less than split.fixed"),
    ({"truth.missing": 10_000}, r"ask for 10000 records .* has \d+ left"),
    ({"release.layers": "Conv"}, "release.layers 'Conv' has no match"),
    ({"training.ema": 1.0}, r"training.ema must lie in \[0, 1\)"),
  ],
)
def test_what_makes_no_sense_is_refused(
  tiny_config, tmp_path, changes, message
):
  with pytest.raises(UserError, match=message):
    stages.build(tiny_config(**changes), tmp_path)
