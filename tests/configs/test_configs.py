"""Every experiment in configs/: it loads light, hashes and runs."""

import importlib
import json
import pathlib
import pkgutil
import subprocess
import sys

import ml_collections
import pytest

from informed_recon import choices, configs, registry, stages
from informed_recon.configs import default
from informed_recon.experiment import identity
from informed_recon.storage import files

ROOT = pathlib.Path(configs.__path__[0]).parent
NAMES = sorted(m.name for m in pkgutil.iter_modules(configs.__path__))
NAMES.remove("audit")  # of a user's own training function: launch/audit.py
# Every stage and every mechanism is in one of these; `make test` builds the
# other configs, `make test-all` runs them too.
RUN = {
  *("convex", "demo", "dp_curve", "dp_prior_aware", "head_cifar10"),
  "robust_mnist",
}
QUICK_RUNS = [
  pytest.param(name, marks=[] if name in RUN else [pytest.mark.slow])
  for name in NAMES
]
FORMS = [(name, arg) for name in NAMES for arg in ("", "quick")]

LOAD = """
import importlib, json, sys
out = {}
for name, arg in json.loads(sys.argv[1]):
  module = importlib.import_module(f"informed_recon.configs.{name}")
  config = module.get_config(arg).lock()
  flat = {}
  for key, value in config.items(preserve_field_references=True):
    flat[key] = json.loads(json.dumps(
      value.to_dict() if hasattr(value, "to_dict") else value))
  out[f"{name}:{arg}"] = flat
heavy = {"jax", "numpy", "flax"} & set(sys.modules)
print(json.dumps(dict(configs=out, heavy=sorted(heavy))))
"""


def _load(name, arg=""):
  module = importlib.import_module(f"informed_recon.configs.{name}")
  return module.get_config(arg)


@pytest.fixture(scope="module")
def elsewhere():
  """All forms, loaded by a process that has loaded nothing else."""
  done = subprocess.run(
    [sys.executable, "-c", LOAD, json.dumps(FORMS)],
    **dict(cwd=ROOT, capture_output=True, text=True, check=True),
  )
  return json.loads(done.stdout)


def test_configs_load_without_jax(elsewhere):
  """A launcher machine may have none, and should not wait for it."""
  assert elsewhere["heavy"] == []


@pytest.mark.parametrize("name, arg", FORMS)
def test_config_locks_flattens_and_hashes(elsewhere, name, arg):
  config = _load(name, arg).lock()
  with pytest.raises(AttributeError):
    config.nonsense = 1
  with pytest.raises(KeyError):
    config.split["shadows"] = 1
  assert (
    json.loads(json.dumps(config.to_dict()))
    == (elsewhere["configs"][f"{name}:{arg}"])
  )
  twin = ml_collections.ConfigDict(
    json.loads(json.dumps(config.to_dict(), sort_keys=True))
  )
  assert identity.config_hash(twin) == identity.config_hash(config)
  # A group means the same everywhere, and these three are everywhere.
  own = {"convex", "prior_aware", "perceptual", "head"}
  assert set(config) <= set(default.get_config()) | own
  assert {"data", "split", "perf"} <= set(config)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_argument_is_refused(name):
  with pytest.raises(ValueError, match="argument must .*, got 'fast'"):
    _load(name, "fast")


def _leaves(config, prefix=""):
  for key, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from _leaves(value, f"{prefix}{key}.")
    else:
      yield f"{prefix}{key}", value


@pytest.mark.parametrize("name", NAMES)
def test_the_hash_sees_what_changes_the_answer_and_nothing_else(name):
  base = identity.config_hash(_load(name))
  hashes = {base}
  leaves = dict(_leaves(_load(name)))
  for path, value in leaves.items():
    config = _load(name)
    other = {
      bool: lambda v: not v,
      int: lambda v: v + 1,
      float: lambda v: v + 0.125,
      str: lambda v: v + "x",
      tuple: lambda v: (*v, v[-1]),
    }[type(value)](value)
    config.update_from_flattened_dict({path: other})
    changed = identity.config_hash(config)
    idle = (
      path.startswith("training.privacy.")
      and not path.endswith(".mechanism")
      and leaves["training.privacy.mechanism"] == "none"
    ) or (  # of a stage that only some points of a sweep have
      path.startswith("stationarity.")
      and "stationarity" not in leaves["stages"]
    )
    if path.startswith("perf.") or path == "title" or idle:
      assert changed == base, path
    else:
      assert changed not in hashes, path
      hashes.add(changed)
  assert {"perf.data_dir", "split.seed", "seed"} <= leaves.keys()


def test_the_hash_of_groups_sees_these_alone():
  def change(path, value):
    config = default.get_config()
    config.update_from_flattened_dict({path: value})
    return identity.config_hash(config, ("training", "seed"))

  base = identity.config_hash(default.get_config(), ("training", "seed"))
  assert change("reconstructors.bilinear.epochs", 7) == base
  assert change("training.steps", 7) != base
  assert change("seed", 7) != base


def test_the_hash_sees_privacy_where_there_is_some():
  def change(**privacy):
    config = default.get_config()
    config.training.privacy.update(mechanism="dp_sgd", **privacy)
    return identity.config_hash(config)

  hashes = {
    change(),
    change(clip_norm=0.5),
    change(noise_multiplier=0.5),
    change(sampling_probability=0.5),
    change(delta=1e-6),
    identity.config_hash(default.get_config()),
  }
  assert len(hashes) == 6


def test_stores_from_before_there_was_privacy_stay_valid():
  old = default.get_config()
  new = identity.config_hash(old)
  with old.unlocked():
    del old.training.privacy
  assert identity.config_hash(old) == new


@pytest.mark.parametrize("name, arg", FORMS)
def test_every_point_of_a_sweep_is_an_experiment_of_its_own(name, arg):
  module = importlib.import_module(f"informed_recon.configs.{name}")
  if not hasattr(module, "sweep"):
    assert not hasattr(module, "CURVE")
    return
  hashes = []
  for changes in map(dict, module.sweep(arg)):
    changes.pop("labels", None)
    config = module.get_config(arg)
    choices.choose(config, changes)
    config.lock().update_from_flattened_dict(changes)
    hashes.append(identity.config_hash(config))
  assert 1 < len(hashes) == len(set(hashes))
  assert module.CURVE in ("", *registry.names("report.curves"))


def _parts(name):
  """Stages and mechanism of a config."""
  config = _load(name, "quick")
  mechanism = "training" in config and config.training.privacy.mechanism
  return {*config.stages, mechanism}


def test_every_stage_and_every_mechanism_is_run():
  assert set().union(*map(_parts, RUN)) == set().union(*map(_parts, NAMES))


@pytest.mark.parametrize("name", sorted({*NAMES} - RUN))
def test_the_quick_form_is_one_that_can_be_run(name, tmp_path):
  config = _load(name, "quick").lock()
  assert stages.build(config, tmp_path / "run").config == config


_DONE = {}


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory):
  """Workdir of a config's quick form; equal experiments run once."""

  def run(name):
    config = _load(name, "quick").lock()
    key = identity.config_hash(config)
    if key not in _DONE:
      workdir = tmp_path_factory.mktemp("quick") / name
      stages.run(config, workdir)
      _DONE[key] = workdir
    return config, _DONE[key]

  return run


def _attacks(config):
  """Name -> number of targets."""
  count = config.split.targets
  attacks = {"convex": count} if "convex" in config.stages else {}
  if "head" in config.stages:
    attacks |= {"head_linear": count, "head_network": count}
  if "reconstructor" in config.stages:
    attacks |= dict.fromkeys(config.reconstructors, count)
  if "simulation" in config.stages:
    attacks |= {k: v.targets or count for k, v in config.simulations.items()}
  if "stationarity" in config.stages:
    attacks |= {k: v.targets or count for k, v in config.stationarity.items()}
  return attacks


ROW = ("mse_median", "targets") + tuple(
  f"{metric}_mean{suffix}"
  for metric in ("mse", "mae", "psnr", "ssim", "kl")
  for suffix in ("", "_ci95")
)
SUCCESS = ("success_rate", "success_rate_ci95")


def mean_image_mse(results):
  return results["baselines"]["mean_image"]["mse_mean"]


@pytest.mark.parametrize("name", QUICK_RUNS)
def test_the_quick_form_runs_and_leaves_the_doors(quick_run, name):
  config, workdir = quick_run(name)
  results = files.read_json(workdir / "results.json")
  assert results.keys() == {
    *("attacks", "baselines", "released_model", "privacy"),
    *("timing_seconds", "environment"),
  }
  assert results["timing_seconds"].keys() == set(config.stages)
  assert {"jax", "python", "devices"} <= results["environment"].keys()
  if "evaluate" not in config.stages:
    return  # no reconstructions; tests/stages/ has what it leaves instead
  expected = _attacks(config)
  attacks = results["attacks"]
  assert {name: row["targets"] for name, row in attacks.items()} == expected
  ridge = (
    {"ridge"} if "shadow" in config.stages and config.split.shadow else set()
  )
  baselines = {"nearest_neighbour_oracle", "mean_image"} | ridge
  assert results["baselines"].keys() == baselines
  oracle = results["baselines"]["nearest_neighbour_oracle"]
  for row in [*results["attacks"].values(), *results["baselines"].values()]:
    assert set(ROW) <= row.keys()
    assert row["targets"] == config.split.targets or row in attacks.values()
    assert row is oracle or set(SUCCESS) <= row.keys()
    sizes = [m for m in config.evaluation.candidates if m <= row["targets"]]
    for m in map(str, sizes):
      low, high = row["identification_ci95"][m]
      assert low <= row["identification"][m] <= high
    assert len(row["identification"]) == len(sizes)
    assert sizes or row["targets"] < 8
    asked = ("perceptual",) if "perceptual" in config else ()
    for metric in ("mse", "mae", "psnr", "ssim", "kl", *asked):
      low, high = row[f"{metric}_mean_ci95"]
      assert low <= row[f"{metric}_mean"] <= high
  if "convex" in results["attacks"]:
    # At the optimum, in float64: exact, and it knows.
    row = results["attacks"]["convex"]
    assert row["flagged_rate"] <= 0.1 and row["trusted_wrong_labels"] == 0
    assert row["trusted_mse_max"] < 1e-8 < mean_image_mse(results)
  informed = [results["baselines"][name] for name in ridge]
  for row in [*results["attacks"].values(), *informed]:
    low, high = row["tpr_at_fpr_ci95"]["0.01"]
    assert 0 <= low <= row["tpr_at_fpr"]["0.01"] <= high <= 1
  # Pixels lie in [0, 1] and the blind guess is the worst of the three.
  mean_image = results["baselines"]["mean_image"]
  if config.split.targets >= 8:
    low, high = mean_image["identification_ci95"]["8"]
    assert low < 1 / 8 < high
  assert 0 < oracle["mse_mean"] < mean_image["mse_mean"] < 1
  if results["privacy"]["mechanism"] == "none":  # noise is there to prevent it
    assert all(row["mse_mean"] < mean_image["mse_mean"] for row in informed)
  released = results["released_model"]
  assert 0.3 < released["test_accuracy_mean"] < 1


@pytest.mark.parametrize("name", QUICK_RUNS)
def test_the_quick_form_leaves_its_files(quick_run, name):
  config, workdir = quick_run(name)
  saved = files.read_json(workdir / "config.json")["config"]
  plain = json.loads(json.dumps(config.to_dict()))
  for group in ("title", "perf"):  # equal experiments ran once
    del saved[group], plain[group]
  assert saved == plain
  for line in (workdir / "metrics.jsonl").read_text().splitlines():
    assert json.loads(line)["stage"]
  if "report" not in config.stages:
    return
  pictures = sorted(p.name for p in (workdir / "figures").iterdir())
  training = ["training.png"] if "reconstructor" in config.stages else []
  if "evaluate" in config.stages:
    verdict = ["verdict.png"] * ("convex" in config.stages)
    if "training" in config and config.training.privacy.mechanism == "dp_sgd":
      verdict = ["kappa.png"]
    if "simulation" in config.stages:
      verdict += ["cost.png", "searches.png"]
    if "stationarity" in config.stages:
      verdict += ["stationarity.png"]
    if {"simulation", "stationarity"} & {*config.stages}:
      verdict += ["few.png"] * (len(set(_attacks(config).values())) > 1)
    expected = {"errors.png", "grid.png", "roc.png", *training, *verdict}
    # "few": of attacks on a few targets alone, where others answer for more.
    assert set(pictures) ^ expected <= {"few.png"}
  for name in pictures:
    png = (workdir / "figures" / name).read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 5000
  page = (workdir / "report.html").read_text()
  # Figures, and small pictures of the most exposed records.
  assert page.count("data:image/png;base64,") >= len(pictures)
  for remote in ('src="http', "src='http", "@import", '<link rel="style'):
    assert remote not in page  # self-contained
  assert not [p for p in workdir.rglob("*.tmp")]
