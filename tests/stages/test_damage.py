"""A damaged file ends in the same results or in its name, never otherwise."""

import pytest

from bench import damage
from informed_recon import stages
from informed_recon.storage import files
from informed_recon.types import UserError


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """(name) -> config and workdir of a finished run."""
  made = {}

  def make(name):
    if name not in made:
      workdir = tmp_path_factory.mktemp(name) / "run"
      config = damage.configs()[name]
      stages.run(config, workdir)
      made[name] = config, workdir
    return made[name]

  return make


SEEDS = [
  *range(3),
  *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 12)),
]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["convex", "network"])
def test_any_file_damaged_in_any_way(finished, name, seed):
  config, workdir = finished(name)
  what, came = damage.case(config, workdir, seed)
  assert came in ("equal", "refused"), f"{what}: {came}"


# What can be made again is, and what cannot is named.
NAMED = [
  ("attacks/convex.npz", "equal"),
  ("timing.json", "equal"),
  ("released_model.json", "equal"),
  ("evaluation/results.json", "equal"),
  ("config.json", "refused"),
]


@pytest.mark.parametrize("kind", ["empty", "cut"])
@pytest.mark.parametrize("path, expected", NAMED)
def test_files_of_a_closed_form(
  finished, tmp_path, path, expected, kind, monkeypatch
):
  config, workdir = finished("convex")
  copy = damage.shutil.copytree(workdir, tmp_path / "run")
  damage.harm(copy / path, kind, copy / path, seed=1)
  name = (copy / path).name
  came = damage.outcome(config, copy, {name}, damage.results(workdir))
  assert came == expected


@pytest.mark.parametrize("text", ['{"stage": "convex"}', "[1]", "3"])
def test_times_that_are_none_are_forgotten(finished, tmp_path, text):
  config, workdir = finished("convex")
  copy = damage.shutil.copytree(workdir, tmp_path / "run")
  (copy / "timing.json").write_text(text)
  assert damage.outcome(config, copy, set(), damage.results(workdir)) == "equal"


@pytest.mark.parametrize("kind", ["empty", "cut", "noise"])
def test_a_damaged_checkpoint_starts_again(finished, tmp_path, kind):
  config, workdir = finished("network")
  copy = damage.shutil.copytree(workdir, tmp_path / "run")
  (copy / "attacks/bilinear.npz").unlink()
  parts = (copy / "reconstructors/bilinear/2").rglob("*")
  largest = max(
    (p for p in parts if p.is_file()), key=lambda p: p.stat().st_size
  )
  damage.harm(largest, kind, largest, seed=1)
  assert damage.outcome(config, copy, set(), damage.results(workdir)) == "equal"


def test_the_block_size_is_named_where_it_matters(finished, tmp_path):
  config, workdir = finished("network")
  copy = damage.shutil.copytree(workdir, tmp_path / "run")
  (copy / "shadow/chunk-00001.npy").unlink()
  (copy / "shadow/block.json").write_text("")
  with pytest.raises(UserError, match="block.json is damaged"):
    stages.run(config, copy)


def test_an_evaluation_with_other_settings_lies_beside_the_first(
  finished, tmp_path
):
  config, workdir = finished("convex")
  copy = damage.shutil.copytree(workdir, tmp_path / "run")
  first = files.read_json(copy / "evaluation/results.json")
  other = config.copy_and_resolve_references().unlock()
  other.evaluation.update(eta=0.5, fpr=(0.25,))
  results = stages.run(other.lock(), copy)
  assert results["attacks"]["convex"]["tpr_at_fpr"].keys() == {"0.25"}
  assert files.read_json(copy / "evaluation/results.json") == first
  (second,) = copy.glob("evaluation-*")
  assert (
    files.read_json(second / "results.json")["attacks"] == (results["attacks"])
  )
  again = stages.run(config, copy)  # and back, without computing anything
  assert again["attacks"] == first["attacks"]
  other = other.copy_and_resolve_references().unlock()
  other.seed = 1
  with pytest.raises(UserError, match="differs in .*seed"):
    stages.run(other.lock(), copy)
