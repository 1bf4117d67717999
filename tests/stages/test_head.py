"""The stage of fine-tuned heads: killed, damaged, or called from nearby."""

import pathlib
import shutil

import pytest

from informed_recon import stages
from informed_recon.configs import head_cifar10
from informed_recon.storage import files


def _config():
  config = head_cifar10.get_config("quick")
  config.split.update(accuracy=20, targets=4, fixed=40, shadow=100)
  config.head.decoder.epochs = 1
  config.stages = ("head", "evaluate")
  config.evaluation.classifier.epochs = 1
  return config


def _results(workdir):
  found = files.read_json(workdir / "results.json")
  return {k: found[k] for k in ("attacks", "released_model")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """Run in a relative workdir, as a user may name it."""
  folder = tmp_path_factory.mktemp("head")
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    stages.run(_config(), pathlib.Path("run"))
  return folder / "run"


@pytest.mark.parametrize(
  "gone, cut",
  [
    # Killed before the last file.
    (["released_model.json", "attacks", "evaluation"], []),
    ([], ["head/extractor.npz", "released_model.json"]),
    ([], ["head/heads.npz", "head/features.npz"]),
    ([], ["attacks/head_linear.npz", "attacks/head_network.npz"]),
  ],
)
def test_a_killed_or_damaged_run_ends_the_same(finished, tmp_path, gone, cut):
  workdir = shutil.copytree(finished, tmp_path / "run")
  (workdir / "results.json").unlink()
  for path in (workdir / name for name in gone):
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  for path in (workdir / name for name in cut):
    path.write_bytes(path.read_bytes()[:-9])
  stages.run(_config(), workdir)
  assert _results(workdir) == _results(finished)
