"""A whole run: its doors, run again, resumed, and under another `perf`."""

import contextlib
import errno
import json
import shutil
import threading

import numpy as np
import pytest

from informed_recon import data, prng, registry, stages, tree
from informed_recon import experiment as experiments
from informed_recon.data import DataSpec
from informed_recon.dp import accounting
from informed_recon.dp.bounds import dpsgd_upper
from informed_recon.stages import shadow
from informed_recon.storage import claims, files, store
from informed_recon.training import ensemble, loop, recipe
from informed_recon.types import Records, UserError

DP_SGD = {
  "training.privacy.mechanism": "dp_sgd",
  "training.privacy.clip_norm": 0.5,
  "training.privacy.noise_multiplier": 3.0,
  "training.privacy.sampling_probability": 0.25,
}
# What a second run may write anew.
TIMED = {"timing.json", "results.json", "report.html"}


def _snapshot(workdir):
  """File -> its bytes, but for what holds times."""
  return {
    str(path.relative_to(workdir)): path.read_bytes()
    for path in sorted(workdir.rglob("*"))
    if path.is_file() and path.name not in TIMED
  }


def _results(workdir):
  results = files.read_json(workdir / "results.json")
  del results["timing_seconds"], results["environment"]
  return results


@pytest.fixture
def workdir(finished, tmp_path):
  """A finished run to damage."""
  return shutil.copytree(finished, tmp_path / "run")


def test_stores_hold_one_model_a_target(finished, tiny_config):
  """Row i of a store belongs to target i: trained by itself it is the same."""
  experiment = stages.build(tiny_config(), finished)
  for name, part in (("shadow", "shadow"), ("released", "targets")):
    rows = store.open_rows(finished / name)
    assert len(rows) == len(getattr(experiment.split, part))
    assert store.missing(finished / name) == []
  rows = store.open_rows(finished / "shadow").all()
  spec, hparams = experiment.training()
  base = ensemble.train_base(
    experiment.train(), experiment.key, experiment.records("fixed"), hparams
  )
  assert base.shape == rows[0].shape == (experiment.model().num_params,)
  # The signal: shadow models differ by little, and by no little noise.
  spread = np.sqrt(np.mean((rows - base) ** 2))
  assert 0 < spread < 0.1 * np.sqrt(np.mean(base**2))

  train = loop.make_train(experiment.model(), spec)
  x, y = experiment.records("shadow")
  keys = recipe.Keys(
    prng.stream(experiment.key, "init"), prng.stream(experiment.key, "order")
  )
  for i in (0, 3, 4, 79):  # both sides of a chunk's border, and the last
    one = train(
      *(keys, experiment.records("fixed"), Records(x[i], y[i])),
      hparams,
    )
    error = np.sqrt(np.mean((rows[i] - tree.flatten(one)) ** 2))
    assert error < 1e-3 * spread


def test_shadow_targets_may_be_of_another_set(
  tiny_config, tmp_path, monkeypatch
):
  """Dark digits among the known records, bright ones as shadow targets."""
  digits = data.load(DataSpec("digits"))

  def load(spec):
    x, y = digits.records
    x = x if spec.name == "dark" else 1 - x
    return digits._replace(name=spec.name, records=Records(x[:500], y[:500]))

  monkeypatch.setattr(registry.find("data", "fake"), "load", load)
  config = tiny_config().copy_and_resolve_references()
  with config.unlocked():
    config.data.update(source="fake", name="dark", shadow="bright")
  experiment = stages.build(config.lock(), tmp_path / "run")
  experiments.enter(experiment)
  registry.find("stages", "shadow").run(experiment)
  means = {p: experiment.records(p).x.mean() for p in experiment.split._fields}
  assert means.pop("shadow") > 0.6 and max(means.values()) < 0.4
  # Each shadow model has seen its own one.
  train, (_, hparams) = experiment.train(), experiment.training()
  x, y = experiment.records("shadow")
  one = ensemble.make_one(train, ensemble.Threat())(
    experiment.key, experiment.records("fixed"), Records(x[7], y[7]), 0, hparams
  )
  rows = experiment.rows("shadow").all()
  distance = np.abs(rows - one).max(1)
  assert distance.argmin() == 7 and distance[7] < 1e-4


def test_a_second_run_changes_nothing(workdir, tiny_config):
  before, results = _snapshot(workdir), _results(workdir)
  stages.run(tiny_config(), workdir)
  assert _snapshot(workdir) == before
  assert _results(workdir) == results


def test_results_are_computed_from_what_is_stored(workdir, tiny_config):
  """Delete what follows the attack: it comes back equal."""
  results, page = _results(workdir), workdir / "report.html"
  shutil.rmtree(workdir / "evaluation")
  shutil.rmtree(workdir / "figures")
  (workdir / "results.json").unlink()
  page.unlink()
  stages.run(tiny_config(), workdir)
  assert _results(workdir) == results and page.exists()


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-7])


def _flip(path):
  raw = bytearray(path.read_bytes())
  raw[len(raw) // 2] ^= 1
  path.write_bytes(raw)


@pytest.mark.parametrize("kind", ["npy", "sha256"])
@pytest.mark.parametrize("damage", [_truncate, _flip, lambda p: p.unlink()])
def test_a_damaged_chunk_is_trained_again_to_the_same_bytes(
  workdir, tiny_config, damage, kind
):
  before = _snapshot(workdir)
  times = {p: p.stat().st_mtime_ns for p in (workdir / "shadow").glob("*.npy")}
  damage(workdir / f"shadow/chunk-00005.{kind}")
  experiment = stages.build(tiny_config(), workdir)
  registry.find("stages", "shadow").run(experiment)
  after = _snapshot(workdir)
  assert before.pop("metrics.jsonl") != after.pop("metrics.jsonl")
  assert after == before
  again = {p.name for p, t in times.items() if p.stat().st_mtime_ns != t}
  assert again == {"chunk-00005.npy"}  # and no other


def test_a_chunk_is_written_while_the_next_one_trains(
  tiny_config, tmp_path, monkeypatch
):
  train, write, begun = ensemble.train_blocks, store.write_chunk, []
  second = threading.Event()

  def counted(*args):
    begun.append(args)
    if len(begun) > 1:
      second.set()
    return train(*args)

  def late(chunk, rows):
    assert second.wait(60)
    write(chunk, rows)

  monkeypatch.setattr(ensemble, "train_blocks", counted)
  monkeypatch.setattr(store, "write_chunk", late)
  experiment = stages.build(tiny_config(), tmp_path)
  shadow.prepare(experiment)
  shadow.work(experiment)
  assert len(begun) == 3 + 20  # each chunk once
  assert not store.missing(tmp_path / "shadow")
  assert not list(tmp_path.rglob("*.claim*"))


def test_a_chunk_that_cannot_be_written_ends_the_stage(
  tiny_config, tmp_path, monkeypatch
):
  """And is left for the next run, the claims with it."""
  write, written = store.write_chunk, []

  def full(chunk, rows):
    if len(written) == 2:
      raise OSError(errno.ENOSPC, "No space left on device")
    written.append(chunk)
    write(chunk, rows)

  experiment = stages.build(tiny_config(), tmp_path)
  with monkeypatch.context() as patch:
    patch.setattr(store, "write_chunk", full)
    with pytest.raises(OSError, match="No space"):
      shadow.work(experiment)
  assert not list(tmp_path.rglob("*.claim*"))
  shadow.work(experiment)
  assert not store.missing(tmp_path / "released")


def test_an_error_does_not_wait_for_what_others_do(
  tiny_config, tmp_path, monkeypatch
):
  """One thread fails while the other looks for a chunk that others hold."""
  monkeypatch.setattr(claims, "PAUSE", (0.05, 0.1))
  experiment = stages.build(tiny_config(), tmp_path)
  shadow.prepare(experiment)
  waited, looks = threading.Event(), []
  hold = claims.hold

  @contextlib.contextmanager
  def taken(piece):
    if piece.name == "chunk-00000.npy":
      with hold(piece) as mine:
        yield mine
    else:
      waited.set()
      looks.append(piece)
      assert len(looks) < 1000
      yield False

  def full(*_):
    assert waited.wait(60)
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(claims, "hold", taken)
  monkeypatch.setattr(store, "write_chunk", full)
  with pytest.raises(OSError, match="No space"):
    shadow.work(experiment)
  assert len(looks) < 1000  # it did not look for ever


def test_a_damaged_chunk_in_other_hands_is_waited_for(
  workdir, tiny_config, monkeypatch
):
  """It looks done, and somebody holds it: it is not taken as it is."""
  before = _snapshot(workdir)
  _truncate(workdir / "shadow/chunk-00005.npy")
  claim = workdir / "shadow/.chunk-00005.npy.claim0"
  claim.write_text("")
  monkeypatch.setattr(claims, "STALE", 2.0)
  monkeypatch.setattr(claims, "PAUSE", (0.1, 0.2))
  experiment = stages.build(tiny_config(), workdir)
  registry.find("stages", "shadow").run(experiment)
  after = _snapshot(workdir)
  assert before.pop("metrics.jsonl") != after.pop("metrics.jsonl")
  assert after == before


@pytest.mark.parametrize(
  "changes",
  [
    {"perf.chunk_models": 33, "perf.block_mib": 1},
    {"perf.tensorfloat32": True},
  ],
)
def test_perf_changes_no_answer(finished, tiny_config, tmp_path, changes):
  """Other chunks, blocks and products: within a thousandth of the signal."""
  stages.run(tiny_config(**changes), tmp_path / "run")
  for name in ("shadow", "released"):
    ours, other = (
      store.open_rows(w / name).all() for w in (finished, tmp_path / "run")
    )
    spread = np.sqrt(np.mean((ours - ours.mean(0)) ** 2))
    assert np.sqrt(np.mean((ours - other) ** 2)) < 1e-3 * spread
  ours, other = _results(finished), _results(tmp_path / "run")
  for group in ("attacks", "baselines"):
    for name, row in ours[group].items():
      for metric in ("mse_mean", "mae_mean", "psnr_mean", "ssim_mean"):
        again = other[group][name][metric]
        assert again == pytest.approx(row[metric], rel=0.01), (name, metric)


def test_products_of_two_kinds_are_not_mixed(workdir, tiny_config):
  other = tiny_config(**{"perf.tensorfloat32": True})
  stages.run(other, workdir)  # a complete store may be read anywhere
  chunk = store.chunks(workdir / "shadow")[2]
  chunk.path.unlink()
  with pytest.raises(UserError, match="products .float32 there, tensorfloat32"):
    stages.run(other, workdir)
  stages.run(tiny_config(), workdir)
  assert chunk.intact()


@pytest.mark.parametrize(
  "changes",
  [
    {"perf.chunk_models": 5},
    {"perf.block_mib": 1},
    {"title": "Another title"},
    {"perf.checkpoint_seconds": 5.0},
  ],
)
def test_a_run_goes_on_under_another_perf(workdir, tiny_config, changes):
  (workdir / "shadow/chunk-00005.npy").unlink()
  before = _snapshot(workdir) | {
    "shadow/chunk-00005.npy": b"",
    "metrics.jsonl": b"",
  }
  experiment = stages.build(tiny_config(**changes), workdir)
  experiments.enter(experiment)
  registry.find("stages", "shadow").run(experiment)
  after = _snapshot(workdir)
  assert before.keys() == after.keys()
  assert {k for k in before if before[k] != after[k]} == {
    "shadow/chunk-00005.npy",
    "metrics.jsonl",
  }


def test_a_line_of_the_log_torn_by_a_full_disk(workdir, tiny_config):
  log = workdir / "metrics.jsonl"
  good = log.read_text()
  log.write_text('{"stage": "reconstr' + good)
  before = (workdir / "figures/training.png").read_bytes()
  (workdir / "figures/training.png").unlink()
  stages.run(tiny_config(), workdir)
  assert (workdir / "figures/training.png").read_bytes() == before


def test_stores_can_be_shared_between_runs(workdir, tiny_config, tmp_path):
  """What no shadow model depends on may differ; nothing is trained again."""
  before = _snapshot(workdir)
  times = {p: p.stat().st_mtime_ns for p in workdir.rglob("chunk-*")}
  changes = {"perf.stores": str(workdir), "evaluation.eta": 0.02}
  stages.run(tiny_config(**changes), tmp_path / "other")
  assert {p: p.stat().st_mtime_ns for p in times} == times
  assert not list((tmp_path / "other").rglob("chunk-*"))
  assert _snapshot(workdir) == before
  ours, theirs = _results(workdir), _results(tmp_path / "other")
  for results in (ours, theirs):
    for row in [*results["attacks"].values(), *results["baselines"].values()]:
      row.pop("success_at_eta", None)
  assert ours == theirs
  changes["training.l2"] = 0.1
  with pytest.raises(UserError, match="is a store of something else"):
    stages.run(tiny_config(**changes), tmp_path / "third")
  assert _snapshot(workdir) == before


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"seed": 1}, r"differs in seed \(0 there, 1 here\)"),
    ({"training.learning_rate": 0.5}, "differs in training.learning_rate"),
    ({"data.source": "fake"}, "differs in data.source"),
  ],
)
def test_a_workdir_of_another_experiment_is_refused(
  workdir, tiny_config, changes, message
):
  before = _snapshot(workdir)
  with pytest.raises(UserError, match=f"belongs to another .*{message}"):
    stages.run(tiny_config(**changes), workdir)
  assert _snapshot(workdir) == before


def test_other_data_under_the_same_config_are_noticed(tiny_config, tmp_path):
  rng = np.random.default_rng(0)
  path = tmp_path / "own.npz"
  config = tiny_config(**{"data.source": "npz", "data.path": str(path)})
  for i in range(2):
    x = rng.uniform(size=(200, 8, 8)).astype(np.float32)
    np.savez(path, x=x, y=np.arange(200) % 4)
    experiment = stages.build(config, tmp_path / "run")
    if i:
      with pytest.raises(UserError, match="differs in the data themselves"):
        experiments.enter(experiment)
    else:
      experiments.enter(experiment)


def test_a_folder_of_something_else_is_refused(tiny_config, tmp_path):
  (tmp_path / "thesis.tex").write_text("")
  with pytest.raises(UserError, match="is not empty and holds no experiment"):
    stages.run(tiny_config(), tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
  for path in (tmp_path / "thesis.tex", tmp_path / "thesis.tex/run"):
    with pytest.raises(UserError, match="cannot make the folder"):
      stages.run(tiny_config(), path)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"training.batch_size": 31}, "31 exceeds the 30 records of split.fixed"),
    ({"training.steps": 0}, "training.steps must be at least 1"),
    (
      {"training.privacy.mechanism": "dpsgd"},
      "unknown mechanism 'dpsgd'; known: augmented, dp_sgd, none",
    ),
    (
      DP_SGD | {"training.batch_size": 8},
      "training.batch_size must be 0 with privacy mechanism 'dp_sgd'",
    ),
    (
      DP_SGD | {"training.privacy.clip_norm": 0.0},
      r"training.privacy.clip_norm must lie in \(0, inf\)",
    ),
    ({"perf.chunk_models": 0}, "perf.chunk_models must be at least 1"),
    ({"split.targets": 1}, "split.targets must be at least 2"),
    ({"split.seed": -1}, "split.seed must be at least 0"),
    ({"evaluation.fpr": (0.01, 1.0)}, "evaluation.fpr must lie between"),
    ({"evaluation.candidates": (8, 1)}, "candidates must be numbers from 2"),
    ({"evaluation.ridge_shadows": 1}, "ridge_shadows must be at least 2"),
    ({"evaluation.classifier.epochs": 0}, "needs epochs and batch_size"),
    ({"evaluation.classifier.name": "cnn"}, "unknown model 'cnn'"),
    ({"reconstructors.bilinear.network": "cnn"}, "unknown network 'cnn'"),
    ({"reconstructors.bilinear.patience": -1}, "patience must be 0"),
    ({"reconstructors.bilinear.batch_size": 99}, "leave nothing to train"),
    ({"stages": ("shadow", "report")}, "must include 'evaluate'"),
    ({"stages": ("evaluate", "repport")}, "unknown stage 'repport'; known"),
  ],
)
def test_a_bad_config_is_refused_before_anything_is_written(
  tiny_config, tmp_path, changes, message
):
  with pytest.raises(UserError, match=message):
    stages.run(tiny_config(**changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


@pytest.mark.slow  # configs: dp_curve runs
def test_private_training_goes_all_the_way(tiny_config, tmp_path, monkeypatch):
  config = tiny_config(**DP_SGD, **{"reconstructors.bilinear.epochs": 1})
  counted, account = [], accounting.dpsgd_epsilon

  def counting(*arguments, **options):
    counted.append(arguments)
    return account(*arguments, **options)

  monkeypatch.setattr(accounting, "dpsgd_epsilon", counting)
  experiments._statement.cache_clear()
  results = stages.run(config, tmp_path / "run")
  assert len(counted) == 1  # the accounting takes seconds where q is small
  epsilon = accounting.dpsgd_epsilon(3.0, 0.25, 5, 1e-5)
  privacy = results["privacy"]
  upper = privacy.pop("success_upper")
  assert upper.keys() == privacy.pop("kappa").keys() == {"eta", "8"}
  assert upper["8"]["tight"] == dpsgd_upper(1 / 8, 3.0, 0.25, 5)
  assert privacy.pop("kappa_confidence") == 0.99
  curve = privacy.pop("kappa_curve")
  kappas = [row["kappa"] for row in curve]
  assert kappas == sorted(kappas) and upper["eta"]["tight"] in [
    row["success_upper"] for row in curve
  ]
  assert 0 <= privacy.pop("delta_beyond_reach") < 1e-5
  assert privacy.pop("epsilon") == pytest.approx(epsilon, rel=1e-12)
  assert privacy == dict(
    mechanism="dp_sgd",
    clip_norm=0.5,
    noise_multiplier=3.0,
    sampling_probability=0.25,
    steps=5,
    delta=1e-5,
    neighbouring_relation="add/remove-one",
  )
  assert "privacy" not in results["released_model"]
  page = (tmp_path / "run/report.html").read_text()
  assert (
    f"ε = {epsilon:.3g} at δ = 1e-05, neighbouring relation add/rem" in page
  )
  assert "sampling probability 0.25, steps 5, delta beyond reach 4" in page
  # Models differ by noise, and every target has its own.
  rows = store.open_rows(tmp_path / "run/shadow").all()
  noise = 0.1 * 3.0 * 0.5 / (0.25 * 31)  # of a step, in units of parameters
  assert rows.std(0).mean() > noise


def test_diverged_models_are_named(tiny_config, tmp_path):
  config = tiny_config(**{"training.learning_rate": 1e30})
  with pytest.raises(UserError, match="diverged.*lower training.learning_rate"):
    stages.run(config, tmp_path / "run")
  assert not list((tmp_path / "run").rglob("chunk-*"))


@pytest.mark.parametrize(
  "shape", [(6,), pytest.param((6, 5, 2), marks=pytest.mark.slow)]
)
def test_records_of_any_shape_go_all_the_way(tiny_config, tmp_path, shape):
  """Features without pixels, and images no viewer knows how to colour."""
  rng = np.random.default_rng(0)
  x = rng.uniform(size=(200, *shape)).astype(np.float32)
  np.savez(tmp_path / "own.npz", x=x, y=np.arange(200) % 3)
  config = tiny_config(
    **{"data.source": "npz", "data.path": str(tmp_path / "own.npz")}
  )
  results = stages.run(config, tmp_path / "run")
  row = results["attacks"]["bilinear"]
  assert (row["ssim_mean"] is None) == (len(shape) == 1)
  assert row["mse_mean"] > 0 and row["targets"] == 12
  guess = files.read_arrays(tmp_path / "run/attacks/bilinear.npz")["x"]
  assert guess.shape == (12, *shape)
  assert (tmp_path / "run/report.html").exists()
  assert not (tmp_path / "run/figures/grid.png").exists()


def test_evaluation_targets_play_no_part_in_the_fit(
  finished, tiny_config, tmp_path
):
  """The network is the same whatever the targets are: the log of its losses
  does not move when they do."""
  x, y = data.load(DataSpec("digits")).records
  ids = stages.build(tiny_config(), finished).split.targets
  x = x.copy()
  x[ids] = 1 - x[ids]
  np.savez(tmp_path / "own.npz", x=x, y=y, num_classes=10)
  config = tiny_config(
    **{"data.source": "npz", "data.path": str(tmp_path / "own.npz")}
  )
  stages.run(config, tmp_path / "run")

  def losses(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    rows = map(json.loads, lines)
    return [row for row in rows if row["stage"] == "reconstructor"]

  assert losses(finished) == losses(tmp_path / "run")
  first, second = (_results(w)["attacks"] for w in (finished, tmp_path / "run"))
  assert first["bilinear"]["mse_mean"] != second["bilinear"]["mse_mean"]


@pytest.mark.parametrize(
  "group, change, message",
  [
    ({}, dict(perceptual_weight=0.1), "weight needs a distance; add the group"),
    (dict(sha256="0" * 64), {}, "no LPIPS weights at ''"),
    (dict(epochs=0), {}, "of 1 up"),
    ({}, dict(ema=2.0), "ema must be 0"),
  ],
)
def test_terms_of_the_loss_that_cannot_be_are_refused_before_any_training(
  tiny_config, tmp_path, group, change, message
):
  config = tiny_config().copy_and_resolve_references()
  with config.unlocked():
    config.reconstructors.bilinear.update(change)
    if group:
      config.perceptual = group
  with pytest.raises(UserError, match=message):
    stages.run(config.lock(), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_patches_of_what_is_no_image_are_refused(tiny_config, tmp_path):
  config = tiny_config().copy_and_resolve_references()
  with config.unlocked():
    config.reconstructors.bilinear.adversarial_weight = 0.1
  digits = data.load(DataSpec("digits"))
  flat = Records(digits.records.x.reshape(-1, 64), digits.records.y)

  def load(spec):
    return digits._replace(records=flat)

  with pytest.raises(UserError, match="adversarial_weight needs images"):
    stages.build(config.lock(), tmp_path, load=load)


def test_shadow_models_follow_the_belief_and_released_ones_the_truth(
  finished, tiny_config, tmp_path
):
  wrong = stages.build(tiny_config(**{"truth.rate": 1.5}), tmp_path / "run")
  experiments.enter(wrong)
  shadow.run(wrong)
  plain = stages.build(tiny_config(), finished)
  np.testing.assert_array_equal(
    wrong.rows("shadow").all(), plain.rows("shadow").all()
  )
  faster = stages.build(tiny_config(**{"training.learning_rate": 0.15}), "x")
  train = ensemble.make_one(faster.train(), ensemble.Threat())
  targets, ids = faster.records("targets"), faster.split.targets
  expected = train(
    *(faster.key, faster.records("fixed")),
    *(Records(targets.x[0], targets.y[0]), ids[0], faster.training()[1]),
  )
  released = wrong.rows("targets").all()
  np.testing.assert_allclose(released[0], expected, atol=5e-6)
  assert np.abs(released - plain.rows("targets").all()).max() > 1e-3


def test_attacks_see_what_is_published(finished, tiny_config):
  """And the accuracy is that of the whole model."""
  published = {"release.layers": "Dense_1", "release.format": "bfloat16"}
  some = stages.build(tiny_config(**published), finished)
  plain = stages.build(tiny_config(), finished).rows("targets").all()
  whole = some.rows("targets", whole=True).all()
  assert 0 < np.abs(whole - plain).max() < 0.01 * np.abs(plain).max()
  shown = some.rows("targets").all()
  first = slice(0, some.model().layout[2].start)
  assert not shown[:, first].any() and whole[:, first].any()
  np.testing.assert_array_equal(shown[:, first.stop :], whole[:, first.stop :])
