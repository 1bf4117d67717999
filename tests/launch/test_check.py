"""An architecture in a file of a user: checked by one command, and attacked."""

import pathlib

import pytest

from informed_recon import models, stages
from informed_recon.types import UserError
from launch import check

DOCS = pathlib.Path(__file__).parents[2] / "docs/extend.md"
LINEAR = """
import jax.numpy as jnp
def init(key, shape, num_classes):
  import jax, math
  size = math.prod(shape)
  return dict(w=0.1 * jax.random.normal(key, (size, num_classes)))
def apply(params, x):
  x = x.reshape(len(x), -1)
  return (x - SHIFT) @ params["w"]
"""


@pytest.fixture
def mixer(tmp_path):
  """The file that the documentation shows."""
  path = tmp_path / "mixer.py"
  path.write_text(DOCS.read_text().split("```python\n")[1].split("```")[0])
  return path


def test_the_documented_mixer(mixer, capsys):
  check.main(["check", "models", str(mixer)])
  out = capsys.readouterr().out
  assert "keeps the contract" in out and "parameters" in out


@pytest.mark.slow
def test_it_is_attacked_by_name(mixer, tiny_config, tmp_path):
  config = tiny_config()
  with config.unlocked():
    config.model.name = str(mixer)
    config.model.options = dict(width=4, depth=1, patch=4)
    config.reconstructors.bilinear.network = "mlp"
    config.reconstructors.bilinear.options = dict(width=16)
  results = stages.run(config, tmp_path / "run")
  assert results["attacks"]["bilinear"]["targets"] == 12


def test_a_pair_of_functions(tmp_path, capsys):
  path = tmp_path / "pair.py"
  path.write_text(LINEAR.replace("SHIFT", "0.5"))
  check.main(["check", "models", str(path)])
  assert "325 parameters" not in capsys.readouterr().out
  coupled = tmp_path / "coupled.py"
  coupled.write_text(LINEAR.replace("SHIFT", "x.mean(0)"))
  with pytest.raises(UserError, match="depend on the other records"):
    check.main(["check", "models", str(coupled)])


def test_networks_and_sources_are_used(tmp_path, capsys):
  check.main(["check", "networks", "mlp"])
  check.main(["check", "data", "fake"])
  assert "600 records (8, 8, 1)" in capsys.readouterr().out
  network = "import flax.linen as nn\nclass Network(nn.Module):\n"
  network += "  layout: tuple\n  record_shape: tuple\n"
  network += "  @nn.compact\n  def __call__(self, x, train):\n"
  network += "    return 2 * nn.sigmoid(nn.Dense(SIZE)(x)).reshape(3, 8, 8, 1)"
  for size, message in ((63, "cannot be built"), (64, "lie in .0, 1.")):
    path = tmp_path / f"network{size}.py"
    path.write_text(network.replace("SIZE", str(size)).replace("3, 8", "-1, 8"))
    with pytest.raises(UserError, match=message):
      check.main(["check", "networks", str(path)])


@pytest.mark.parametrize(
  "argv,words",
  [
    (["check"], "usage"),
    (["check", "nonsense", "x.py"], "usage"),
    (["check", "models", "nowhere.py"], "no file"),
    (["check", "data", str(DOCS)], "unknown"),
    (["check", "networks", str(models.__file__)], "no 'Network'"),
  ],
)
def test_bad_input_is_one_line(argv, words):
  with pytest.raises(UserError, match=words):
    check.main(argv)
