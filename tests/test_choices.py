"""Naming another part of an experiment takes that part's own options."""

import ml_collections
import pytest

from informed_recon import choices, data
from informed_recon.types import UserError

SOURCE = """
from informed_recon import data
OPTIONS = dict(classes=3)
def load(spec):
  whole = data.load(data.DataSpec("digits"))
  few = whole.records.y < spec.options["classes"]
  records = data.Records(*(a[few] for a in whole.records))
  return data.Dataset("few", records, spec.options["classes"])
"""


def _chosen(tiny_config, changes):
  config = ml_collections.ConfigDict(tiny_config().to_dict())
  choices.choose(config, changes)
  config.lock().update_from_flattened_dict(changes)
  return config


def test_another_model_optimiser_and_network(tiny_config):
  config = _chosen(
    tiny_config,
    {
      "model.name": "linear",
      "model.options.use_bias": False,
      "training.optimizer": "adam",
      "training.optimizer_options.b1": 0.8,
      "reconstructors.bilinear.network": "mlp",
      "evaluation.classifier.name": "linear",
    },
  )
  assert config.model.options.to_dict() == dict(use_bias=False)
  assert config.training.optimizer_options.b1 == 0.8
  assert config.training.optimizer_options.b2 == 0.999
  assert "momentum" not in config.training.optimizer_options
  assert config.reconstructors.bilinear.options.width == 1000
  assert "width" not in config.evaluation.classifier.options


def test_the_same_name_keeps_the_configs_options(tiny_config):
  before = tiny_config()
  same = {"reconstructors.bilinear.network": "bilinear", "seed": 3}
  config = _chosen(tiny_config, same)
  assert config.reconstructors == before.reconstructors


def test_a_source_outside_the_package_with_an_option(tiny_config, tmp_path):
  path = tmp_path / "few.py"
  path.write_text(SOURCE)
  changes = {"data.source": str(path), "data.options.classes": 2}
  config = _chosen(tiny_config, changes)
  found = data.load(data.DataSpec(**config.data.to_dict()))
  assert found.num_classes == 2 and found.records.y.max() == 1
  with pytest.raises(UserError, match="no option 'colour'; known: classes"):
    data.load(data.DataSpec(str(path), options=dict(colour=1)))


def test_an_unknown_name_lists_the_known(tiny_config):
  with pytest.raises(
    UserError, match="unknown model 'lineer'; known: .*linear"
  ):
    _chosen(tiny_config, {"model.name": "lineer"})
