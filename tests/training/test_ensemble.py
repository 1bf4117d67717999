"""An ensemble is nothing but many single runs."""

import math
import re
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, prng, registry, tree
from informed_recon.training import ensemble, loop, recipe
from informed_recon.training.ensemble import Threat
from informed_recon.training.recipe import HParams, Keys, Recipe
from informed_recon.types import Records, UserError

SHAPE, CLASSES = (4, 4, 1), 3
ROOT = prng.root(0)
HPARAMS = HParams(0.2, 1e-3)
# Vmapped and single training agree to about 1e-6 (other orders of summation).
CLOSE = dict(rtol=0, atol=5e-6)
ORDER_SECRET, INIT_SECRET = Threat(True, False), Threat(False, True)
NOTHING_SHARED = Threat(False, False)


@pytest.fixture(scope="module")
def mlp():
  return models.build("mlp", CLASSES, SHAPE, dict(width=5))


def _train(mlp, batch_size=4, steps=5):
  options = dict(momentum=0.9)
  return loop.make_train(
    mlp, Recipe(steps, batch_size, optimizer_options=options)
  )


def _blocks(many, fixed, targets, ids, block):
  parts = ensemble.train_blocks(many, ROOT, fixed, targets, ids, HPARAMS, block)
  return np.concatenate(list(parts))


@pytest.mark.parametrize("threat", [ORDER_SECRET, INIT_SECRET])
def test_vmapped_equals_single(mlp, make_records, threat):
  fixed, targets = make_records(9), make_records(3, seed=1)
  ids = np.array([7, 70, 700], np.int32)
  train = _train(mlp)
  many = ensemble.make_ensemble(train, threat)
  rows = many(ROOT, fixed, targets, ids, HPARAMS)
  init, order = (prng.stream(ROOT, name) for name in ("init", "order"))
  for i, model_id in enumerate(ids):
    keys = Keys(
      init if threat.shared_init else jax.random.fold_in(init, model_id),
      order if threat.shared_order else jax.random.fold_in(order, model_id),
    )
    target = Records(targets.x[i], targets.y[i])
    one = tree.flatten(train(keys, fixed, target, HPARAMS))
    np.testing.assert_allclose(rows[i], one, **CLOSE)


@pytest.mark.parametrize(
  "name", ["convnet", pytest.param("resnet", marks=pytest.mark.slow)]
)
def test_image_networks_train_side_by_side(name, make_records):
  """Under vmap every model has kernels of its own; each ends where it ends
  alone, and has learnt something."""
  shape = (8, 8, 3)
  tiny = registry.find("models", name).TINY
  model = models.build(name, CLASSES, shape, tiny)
  train = loop.make_train(model, Recipe(steps=20))
  fixed, targets = make_records(9, shape), make_records(3, shape, seed=1)
  ids = np.arange(3, dtype=np.int32)
  hparams = HParams(0.3)
  many = ensemble.make_ensemble(train, Threat())
  rows = many(ROOT, fixed, targets, ids, hparams)
  single = jax.jit(ensemble.make_one(train, Threat()))
  for i in ids:
    one = single(ROOT, fixed, Records(*(t[i] for t in targets)), i, hparams)
    np.testing.assert_allclose(rows[i], one, rtol=0, atol=2e-5)
  start = model.init(prng.stream(ROOT, "init"))

  def loss(params):
    return recipe.cross_entropy(model.apply(params, fixed.x), fixed.y).mean()

  assert loss(tree.unflatten(rows[0], start)) < 0.97 * loss(start)
  assert np.abs(rows[0] - rows[1]).max() > 1e-3  # the target leaves its mark


@pytest.mark.parametrize("threat", [Threat(), ORDER_SECRET, INIT_SECRET])
def test_rows_depend_on_the_global_id_not_on_the_position(
  mlp, make_records, threat
):
  fixed, targets = make_records(9), make_records(4, seed=1)
  ids = np.array([3, 1, 4, 15], np.int32)
  many = ensemble.make_ensemble(_train(mlp), threat)
  rows = many(ROOT, fixed, targets, ids, HPARAMS)
  turn = np.array([2, 0, 3, 1])
  turned = many(
    ROOT, fixed, Records(*(a[turn] for a in targets)), ids[turn], HPARAMS
  )
  np.testing.assert_allclose(turned, rows[turn], **CLOSE)
  # The id matters just where the threat model says that models differ.
  other = many(ROOT, fixed, targets, ids + 1, HPARAMS)
  shared = threat.shared_init and threat.shared_order
  assert np.allclose(other, rows, **CLOSE) == shared


def test_block_size_and_padding_do_not_matter(mlp, make_records):
  fixed, targets = make_records(9), make_records(7, seed=1)
  ids = np.arange(20, 27)
  many = ensemble.make_ensemble(_train(mlp), NOTHING_SHARED)
  together = np.asarray(
    many(ROOT, fixed, targets, ids.astype(np.int32), HPARAMS)
  )
  for block in (1, 4):  # 4 pads the last block
    rows = _blocks(many, fixed, targets, ids, block)
    assert rows.shape == together.shape
    np.testing.assert_allclose(rows, together, **CLOSE)


def test_one_trace_for_all_blocks_and_learning_rates(mlp, make_records):
  fixed, targets = make_records(9), make_records(10, seed=1)
  traces, train = [], _train(mlp)

  def counted(*args):
    traces.append(1)
    return train(*args)

  many = ensemble.make_ensemble(counted, Threat())
  rows = {}
  for rate in (0.1, 0.2, 0.3):
    parts = ensemble.train_blocks(
      *(many, ROOT, fixed, targets, np.arange(10)),
      *(HParams(rate, rate / 10), 4),
    )
    rows[rate] = np.concatenate(list(parts))
  assert len(traces) == 1
  assert not np.allclose(rows[0.1], rows[0.2])  # the rate does arrive


def test_blocks_are_under_way_together_and_come_back_in_order(make_records):
  """Each waits for another before it ends, the first ones for longer."""
  together = threading.Barrier(ensemble.UNDER_WAY, timeout=20)

  def many(root, fixed, targets, ids, hparams):
    together.wait()
    time.sleep(0.05 if ids[0] == 0 else 0)
    return jnp.asarray(ids, jnp.float32)[:, None]

  rows = _blocks(many, make_records(9), make_records(16), np.arange(16), 2)
  np.testing.assert_array_equal(rows[:, 0], np.arange(16))


@pytest.mark.parametrize(
  "name, options, n", [("mlp", dict(width=10), 300), ("convnet", {}, 12)]
)
def test_blocks_under_way_together_change_no_bit(
  name, options, n, make_records, monkeypatch
):
  shape = (32, 32, 3)
  fixed, targets = make_records(n, shape), make_records(12, shape, seed=1)
  train = _train(models.build(name, 3, shape, options), 0, steps=3)
  many = ensemble.make_ensemble(train, Threat())
  rows = []
  for count in (1, 3):
    monkeypatch.setattr(ensemble, "UNDER_WAY", count)
    rows.append(_blocks(many, fixed, targets, np.arange(12), 2))
  np.testing.assert_array_equal(*rows)


def test_a_block_that_fails_is_not_lost(make_records):
  def many(root, fixed, targets, ids, hparams):
    raise ValueError(f"block of {int(ids[0])}")

  with pytest.raises(ValueError, match="block of 0"):
    _blocks(many, make_records(9), make_records(16), np.arange(16), 2)


def _largest_array(many, fixed, targets):
  """Elements of the largest array anywhere in the compiled program."""
  ids = np.arange(len(targets.y), dtype=np.int32)
  text = many.lower(ROOT, fixed, targets, ids, HPARAMS).compile().as_text()
  shapes = re.findall(r"\b[a-z]+\d+\[([\d,]*)\]", text)
  return max(math.prod(map(int, s.split(","))) for s in shapes if s)


@pytest.mark.parametrize(
  "threat, batch_size",
  [(Threat(), 0), (NOTHING_SHARED, 0), (NOTHING_SHARED, 4)],
)
def test_the_fixed_set_is_never_copied_per_model(
  make_records, threat, batch_size
):
  shape, n, size = (8, 8, 3), 67, 16
  mlp = models.build("mlp", CLASSES, shape, dict(width=5))
  fixed, targets = make_records(n, shape), make_records(size, shape)
  copied = size * n * math.prod(shape)
  train = _train(mlp, batch_size, steps=2)
  many = ensemble.make_ensemble(train, threat)
  assert _largest_array(many, fixed, targets) < copied / 2

  # The detector detects: the target put into a data set of each model.
  def concatenated(keys, fixed, target, hparams):
    del keys, hparams
    x = jnp.concatenate([fixed.x, target.x[None]])
    params = mlp.init(jax.random.key(0))
    return jax.grad(lambda p: mlp.apply(p, jnp.sort(x, 0)).sum())(params)

  naive = ensemble.make_ensemble(concatenated, threat)
  assert _largest_array(naive, fixed, targets) >= copied


def test_block_size_is_the_largest_that_fits(mlp, make_records):
  fixed, targets = make_records(500), make_records(4096, seed=1)
  many = ensemble.make_ensemble(_train(mlp, 0, steps=3), Threat())
  budget = 2 << 20

  def memory(size):
    batch = Records(*(a[:size] for a in targets))
    ids = np.arange(size, dtype=np.int32)
    program = many.lower(ROOT, fixed, batch, ids, HPARAMS).compile()
    analysis = program.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes

  args = many, ROOT, fixed, targets, HPARAMS, budget
  size = ensemble.block_size(*args)
  assert size == ensemble.block_size(*args)
  assert 1 < size < 4096 and size & (size - 1) == 0
  at_a_time = ensemble.UNDER_WAY
  assert at_a_time * memory(size) <= budget < at_a_time * memory(2 * size)


def test_block_size_is_capped_by_the_number_of_models(mlp, make_records):
  fixed = make_records(9)
  many = ensemble.make_ensemble(_train(mlp, 0), Threat())
  for count, expected in ((1, 1), (5, 8)):
    targets = make_records(count)
    assert ensemble.block_size(many, ROOT, fixed, targets, HPARAMS) == expected


def test_a_budget_below_one_model(mlp, make_records):
  fixed, targets = make_records(500), make_records(8, seed=1)
  many = ensemble.make_ensemble(_train(mlp, 0), Threat())
  args = many, ROOT, fixed, targets, HPARAMS
  # 500 records by 5 hidden units in float32 are 0.01 MiB, used several times.
  message = r"needs 0.\d MiB, the budget is 0.0 MiB; raise perf.block_mib"
  with pytest.raises(UserError, match=message):
    ensemble.block_size(*args, budget_bytes=10_000)


def test_a_block_grows_with_what_its_models_share(
  mlp, make_records, monkeypatch
):
  """By default, however small the cache: it reads all of that every step."""
  monkeypatch.setattr(ensemble, "_default_budget", lambda: 1)
  shape = (20, 20, 3)
  fixed, targets = make_records(2000, shape), make_records(1024, shape)
  model = models.build("mlp", 3, shape, dict(width=5))
  many = ensemble.make_ensemble(_train(model, 0), Threat())
  sizes = []
  for times in (0, 5, 10):
    monkeypatch.setattr(ensemble, "TIMES_SHARED", times)
    args = many, ROOT, fixed, targets, HPARAMS
    sizes.append(ensemble.block_size(*args))
  assert 1 == sizes[0] < 8 <= sizes[1] < sizes[2] == 2 * sizes[1]


def test_base_model_has_the_shared_keys(mlp, make_records):
  fixed, train = make_records(9), _train(mlp)
  base = ensemble.train_base(train, ROOT, fixed, HPARAMS)
  keys = Keys(prng.stream(ROOT, "init"), prng.stream(ROOT, "order"))
  expected = tree.flatten(train(keys, fixed, None, HPARAMS))
  np.testing.assert_allclose(base, expected, **CLOSE)


def test_initial_parameters_may_be_one_of_few():
  """Of as many as are said, and of no more."""
  threat = ensemble.Threat(shared_init=False, initialisations=3)
  keys = [ensemble.model_keys(ROOT, threat, i) for i in range(7)]
  init, order = (
    {str(jax.random.key_data(getattr(k, name))) for k in keys}
    for name in ("init", "noise")
  )
  assert (len(init), len(order)) == (3, 7)
