"""Fitting a reconstructor network: the same end however it was reached."""

import errno
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, prng
from informed_recon.attacks import reconstructor
from informed_recon.attacks.reconstructor import Fit, fitting, networks
from informed_recon.storage import checkpoints
from informed_recon.storage.store import Rows
from informed_recon.types import UserError

SHAPE = (3, 3, 1)
KEY = prng.stream(prng.root(0), "reconstructor test")
SPEC = Fit(
  optimizer="adam",
  learning_rate=3e-3,
  epochs=4,
  batch_size=8,
  holdout=0.2,
  patience=0,
  schedule="warmup_cosine",
)


@pytest.fixture(scope="module")
def network():
  layout = models.build("linear", 2, SHAPE, {}).layout
  options = dict(width=16, depth=1, dropout=0.2)
  return networks.build("mlp", layout, SHAPE, options)


@pytest.fixture(scope="module")
def shadows():
  """60 models whose parameters tell their record; one parameter constant."""
  rng = np.random.default_rng(0)
  records = rng.uniform(size=(60, *SHAPE)).astype(np.float32)
  theta = records.reshape(60, 9) @ rng.normal(size=(9, 20))
  theta = (1 + 0.01 * theta).astype(np.float32)
  theta[:, 3] = 0.25
  return Rows(tuple(theta[s : s + 16] for s in range(0, 60, 16)), 16), records


def _fit(network, shadows, directory, spec=SPEC, **more):
  rows, records = shadows
  log = []
  attack = reconstructor.fit(
    network, spec, rows, records, KEY, directory, **dict(log=log.append) | more
  )
  return attack, log


class _Killed(Exception):
  pass


def test_interrupted_and_resumed_is_bit_identical(network, shadows, tmp_path):
  theta = shadows[0].all()
  attack, log = _fit(network, shadows, tmp_path / "straight")
  straight = attack(theta)
  seen = []

  def kill(row):
    seen.append(row)
    if row["epoch"] in (2, 3) and row["epoch"] not in killed:
      killed.append(row["epoch"])
      raise _Killed

  killed = []
  for _ in range(2):
    with pytest.raises(_Killed):
      _fit(
        *(network, shadows, tmp_path / "resumed"),
        **dict(log=kill, checkpoint_seconds=0),
      )
  resumed, _ = _fit(
    *(network, shadows, tmp_path / "resumed"),
    **dict(log=kill, checkpoint_seconds=0),
  )
  assert killed == [2, 3]
  # It went on from checkpoints: no epoch but the killed ones ran twice.
  assert [row["epoch"] for row in seen] == [1, 2, 2, 3, 3, 4]
  np.testing.assert_array_equal(resumed(theta), straight)
  last = {row["epoch"]: row for row in seen}
  assert [last[e] for e in range(1, 5)] == log
  # A finished fit is loaded, not trained again.
  again, log = _fit(network, shadows, tmp_path / "resumed")
  assert log == []
  np.testing.assert_array_equal(again(theta), straight)


def test_the_attack_learns_and_the_constant_parameter_plays_no_part(
  network, shadows, tmp_path
):
  spec = Fit(
    *("adam", {}, 1e-2, "constant", 40, 8, 1.0, 1.0, 0.2, 0),
  )
  attack, log = _fit(network, shadows, tmp_path, spec)
  rows, records = shadows
  theta = rows.all()
  guess = attack(theta)
  assert guess.shape == records.shape
  blind = np.mean((records - records.mean(0)) ** 2)
  assert np.mean((guess - records) ** 2) < 0.5 * blind
  assert log[-1]["train_loss"] < 0.7 * log[0]["train_loss"]
  moved = theta.copy()
  moved[:, 3] += 100
  np.testing.assert_array_equal(attack(moved), guess)
  # Blocks of the prediction are joined in order.
  np.testing.assert_allclose(attack(theta, block=7), guess, atol=1e-6)


def test_shadow_models_on_the_device_give_the_same_fit(
  network, shadows, tmp_path, monkeypatch
):
  """As on an accelerator: an epoch is one program, and nothing is read."""
  theta = shadows[0].all()
  read, log = _fit(network, shadows, tmp_path / "read")
  resident = jnp.asarray(theta), jnp.asarray(shadows[1])
  monkeypatch.setattr(fitting, "_resident", lambda *_: resident)
  monkeypatch.delattr(fitting, "_batches")
  there, same = _fit(network, shadows, tmp_path / "there")
  np.testing.assert_allclose(there(theta), read(theta), atol=1e-5)
  losses = [[row[k] for k in ("train_loss", "held_loss")] for row in log + same]
  np.testing.assert_allclose(losses[: len(log)], losses[len(log) :], rtol=1e-4)


@pytest.mark.parametrize(
  "platform, limit, fits",
  [("gpu", 1 << 20, True), ("gpu", 1 << 10, False), ("cpu", 1 << 20, False)],
)
def test_what_fits_an_accelerator_lies_there(
  shadows, monkeypatch, platform, limit, fits
):
  device = types.SimpleNamespace(
    platform=platform, memory_stats=lambda: dict(bytes_limit=limit)
  )
  devices = types.SimpleNamespace(devices=np.array([device]))
  monkeypatch.setattr(fitting.mesh, "whole", lambda _: None)
  found = fitting._resident(*shadows, devices)
  assert (found is not None) == fits
  if fits:
    np.testing.assert_array_equal(found[0], shadows[0].all())
    np.testing.assert_array_equal(found[1], shadows[1])


def test_early_stopping_keeps_the_best_epoch(network, tmp_path):
  """Records that have nothing to do with the parameters: held-out loss can
  but rise, so the fit stops `patience` epochs after its best."""
  rng = np.random.default_rng(0)
  rows = Rows((rng.normal(size=(60, 20)).astype(np.float32),), 60)
  records = rng.uniform(size=(60, *SHAPE)).astype(np.float32)
  spec = Fit("adam", {}, 3e-2, "constant", 60, 8, 1.0, 1.0, 0.2, patience=3)
  attack, log = _fit(network, (rows, records), tmp_path, spec)
  held = [row["held_loss"] for row in log]
  best = int(np.argmin(held))
  assert len(log) == best + 1 + 3 < 60
  # The returned network is the one of the best epoch: its loss over the
  # held-out models is that epoch's.
  order = np.random.default_rng(fitting._seed(KEY, "holdout")).permutation(60)
  out = np.sort(order[:12])
  error = attack(rows.gather(out)) - records[out]
  loss = np.abs(error).mean() + np.square(error).mean()
  assert loss == pytest.approx(held[best], rel=1e-4)
  assert loss != pytest.approx(held[-1], rel=1e-3)


def test_held_out_models_are_not_trained_on(network, shadows, tmp_path):
  """Spoiling their records changes the held-out loss and nothing else."""
  rows, records = shadows
  order = np.random.default_rng(fitting._seed(KEY, "holdout")).permutation(60)
  spoiled = records.copy()
  spoiled[order[:12]] = 1.0
  _, clean = _fit(network, shadows, tmp_path / "a")
  _, other = _fit(network, (rows, spoiled), tmp_path / "b")
  for row, spoiled_row in zip(clean, other):
    assert row["train_loss"] == spoiled_row["train_loss"]
    assert row["held_loss"] < spoiled_row["held_loss"]


def test_every_epoch_has_its_own_order(network, shadows, tmp_path, monkeypatch):
  orders, read = [], fitting._batches

  def watched(rows, records, ids, size):
    orders.append(ids)
    return read(rows, records, ids, size)

  monkeypatch.setattr(fitting, "_batches", watched)
  _fit(network, shadows, tmp_path)
  assert [len(set(ids)) for ids in orders] == [48] * 4  # all but the held out
  assert len({tuple(sorted(ids)) for ids in orders}) == 1
  assert len({tuple(ids) for ids in orders}) == 4


def test_without_a_holdout_it_trains_on_all_to_the_end(
  network, shadows, tmp_path, monkeypatch
):
  orders, read = [], fitting._batches

  def watched(rows, records, ids, size):
    orders.append(ids)
    return read(rows, records, ids, size)

  monkeypatch.setattr(fitting, "_batches", watched)
  spec = Fit(**vars(SPEC) | dict(holdout=0.0, patience=1, batch_size=10))
  attack, log = _fit(network, shadows, tmp_path / "whole", spec)
  assert [set(ids) for ids in orders] == [set(range(60))] * 4
  assert [row["held_loss"] for row in log] == [None] * 4
  # The last network: a shorter fit ends with another one.
  theta = shadows[0].all()
  short = Fit(**vars(spec) | dict(epochs=3, schedule="constant"))
  longer = Fit(**vars(short) | dict(epochs=4))
  guesses = [
    _fit(network, shadows, tmp_path / str(s.epochs), s)[0](theta)
    for s in (short, longer)
  ]
  assert not np.allclose(*guesses)
  again, log = _fit(network, shadows, tmp_path / "whole", spec)
  assert log == []
  np.testing.assert_array_equal(again(theta), attack(theta))


def test_weights_of_the_two_losses(network, shadows, tmp_path):
  """loss = mae_weight MAE + mse_weight MSE; held-out loss of epoch 1 with a
  rate of next to 0 is that of the initial network, so it adds up."""
  held = {}
  for mae, mse in ((1, 0), (0, 1), (2, 3)):
    spec = Fit(
      *("sgd", {}, 1e-12, "constant", 1, 8, float(mae), float(mse), 0.2, 0)
    )
    _, log = _fit(network, shadows, tmp_path / f"{mae}{mse}", spec)
    held[mae, mse] = log[0]["held_loss"]
  expected = 2 * held[1, 0] + 3 * held[0, 1]
  assert held[2, 3] == pytest.approx(expected, rel=1e-5)
  assert held[1, 0] > held[0, 1] > 0


@pytest.mark.parametrize("spoil", ["rate", "record"])
def test_a_loss_that_is_not_finite_is_said(network, shadows, tmp_path, spoil):
  rows, records = shadows
  spec = SPEC
  if spoil == "rate":
    spec = Fit("sgd", {}, 1e38, "constant", 3, 8, 1e30, 1e30, 0.2, 0)
  else:
    records = np.full_like(records, np.nan)
  with pytest.raises(UserError, match="loss is not finite after epoch 1"):
    _fit(network, (rows, records), tmp_path, spec)


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(holdout=-0.1), "leave nothing to train on or to hold out of 60"),
    (dict(holdout=1.0), "leave nothing to train on or to hold out of 60"),
    (dict(batch_size=0), "leave nothing"),
    (dict(batch_size=49), "leave nothing"),
    (dict(epochs=0), "epochs must be at least 1"),
    (dict(patience=-1), "patience must be 0"),
    (dict(optimizer="adm"), "unknown optimizer 'adm'"),
    (dict(schedule="step"), "unknown schedule 'step'"),
    (dict(optimizer_options=dict(b3=1)), "'adam' has no option 'b3'"),
  ],
)
def test_settings_that_make_no_sense(change, message):
  with pytest.raises(UserError, match=message):
    reconstructor.check(Fit(**vars(SPEC) | change), 60)
  reconstructor.check(SPEC, 60)


@pytest.mark.parametrize(
  "said, raised",
  [
    ("RESOURCE_EXHAUSTED: Error writing: No space left on device", OSError),
    ("INVALID_ARGUMENT: something else", ValueError),
  ],
)
def test_a_full_disk_in_a_checkpoint_is_an_oserror(
  network, shadows, tmp_path, monkeypatch, said, raised
):
  """Tensorstore says it in its own way; the launcher knows the system's."""

  def save(*args, **kwargs):
    raise ValueError(said)

  monkeypatch.setattr(checkpoints.ocp.CheckpointManager, "save", save)
  with pytest.raises(raised) as error:
    _fit(network, shadows, tmp_path, Fit(**vars(SPEC) | dict(epochs=1)))
  if raised is OSError:
    assert error.value.errno == errno.ENOSPC


def test_batches_are_read_in_order_and_errors_arrive(shadows):
  rows, records = shadows
  ids = np.arange(59, -1, -1)
  batches = list(fitting._batches(rows, records, ids, 16))
  assert [len(b) for b, _ in batches] == [16, 16, 16, 12]
  got = np.concatenate([theta for theta, _ in batches])
  np.testing.assert_array_equal(got, rows.all()[ids])
  truth = np.concatenate([x for _, x in batches])
  np.testing.assert_array_equal(truth, records[ids])
  with pytest.raises(IndexError):
    list(fitting._batches(rows, records[:5], ids, 16))


def test_the_key_decides(network, shadows, tmp_path):
  rows, records = shadows
  theta = rows.all()[:3]
  outcomes = []
  for i, seed in enumerate((0, 0, 1)):
    attack = reconstructor.fit(
      *(network, Fit(**vars(SPEC) | dict(epochs=1)), rows, records),
      *(jax.random.key(seed), tmp_path / str(i)),
    )
    outcomes.append(attack(theta))
  np.testing.assert_array_equal(outcomes[0], outcomes[1])
  assert not np.allclose(outcomes[0], outcomes[2])


def test_without_holdout_every_shadow_model_trains(network, shadows, tmp_path):
  change = dict(holdout=0.0, batch_size=60, epochs=3, schedule="constant")
  spec = Fit(**vars(SPEC) | change)
  attack, log = _fit(network, shadows, tmp_path, spec)
  assert [row["held_loss"] for row in log] == [None] * 3
  assert len(log) == 3  # all epochs: nothing to stop early by
  # One step an epoch: batches of 60 leave no model out, and the last network
  # is the answer, not the first.
  first, _ = _fit(
    network, shadows, tmp_path / "one", Fit(**vars(spec) | dict(epochs=1))
  )
  theta = shadows[0].all()
  assert not np.array_equal(attack(theta), first(theta))
