"""Gradients piece by piece: the same sum, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, prng, tree
from informed_recon.training import loop, microbatch
from informed_recon.training.recipe import (
  HParams,
  Keys,
  Recipe,
  cross_entropy,
)
from informed_recon.types import Records


@pytest.fixture
def problem(monkeypatch):
  monkeypatch.setattr(microbatch, "LARGE_RECORD_BYTES", 0)
  model = models.build("convnet", 3, (8, 8, 2), dict(widths=(4, 5)))
  rng = np.random.default_rng(0)
  x = jnp.asarray(rng.normal(size=(23, 8, 8, 2)), jnp.float32)
  y = jnp.asarray(rng.integers(3, size=23))
  weight = jnp.asarray(rng.uniform(size=23), jnp.float32)

  def loss(params, x, y, weight):
    return jnp.sum(weight * cross_entropy(model.apply(params, x), y))

  return loss, model.init(prng.root(0)), x, y, weight


def sizes(loss, *args):
  """Records in each call of the loss while its gradient is traced."""
  seen = []

  def watched(params, x, y, weight):
    seen.append(len(y))
    return loss(params, x, y, weight)

  jax.make_jaxpr(lambda *a: microbatch.gradient(watched, *a))(*args)
  return seen


@pytest.mark.parametrize("mib", [0, 0.02, 0.1, 100])
def test_the_sum_is_that_of_all_records_at_once(problem, mib, monkeypatch):
  monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", int(mib * 2**20))
  loss, *args = problem
  expected = jax.grad(loss)(*args)
  for gradient in (
    microbatch.gradient,
    jax.jit(microbatch.gradient, static_argnums=0),
  ):
    for g, e in zip(*map(jax.tree.leaves, (gradient(loss, *args), expected))):
      np.testing.assert_allclose(g, e, rtol=1e-4, atol=1e-5)


def test_the_cache_decides_how_many_records_make_a_piece(problem, monkeypatch):
  largest = []
  for mib in (0, 0.1, 0.2, 100):
    monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", int(mib * 2**20))
    largest.append(max(sizes(*problem)[1:], default=0))
  assert largest[0] == 1 < largest[1] < largest[2] < 23 == largest[3]


def test_accelerators_take_all_records_at_once(problem, monkeypatch):
  monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", 0)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  assert set(sizes(*problem)) == {23}


@pytest.mark.parametrize("bytes_", [1000, 3000, 9000])
def test_pieces_leave_no_place_empty_where_they_can(bytes_, monkeypatch):
  """As 100 records where seven fit: pieces of five."""
  monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", bytes_)
  monkeypatch.setattr(microbatch, "LARGE_RECORD_BYTES", 0)

  def loss(params, x, y, weight):
    return jnp.sum(weight * jnp.sum(params * x, axis=-1) ** 2) + 0 * y.sum()

  args = jnp.ones(50), jnp.ones((100, 50)), jnp.ones(100), jnp.ones(100)
  size = sizes(loss, *args)[-1]
  assert 1 < size < 100 and 100 % size == 0


def test_it_takes_less_memory(problem, monkeypatch):
  loss, *args = problem

  def taken():
    run = jax.jit(lambda *a: microbatch.gradient(loss, *a))
    return run.lower(*args).compile().memory_analysis().temp_size_in_bytes

  whole = taken()
  monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", 1 << 17)
  assert taken() < 0.5 * whole


def test_many_models_at_once(problem, monkeypatch):
  """Under vmap the pieces are those of one model."""
  monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", 1 << 17)
  loss, params, *records = problem
  many = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)

  def run(p):
    return microbatch.gradient(loss, p, *records)

  together = jax.vmap(run)(many)
  for i in range(2):
    alone = run(jax.tree.map(lambda p, i=i: p[i], many))
    for t, a in zip(*map(jax.tree.leaves, (together, alone))):
      np.testing.assert_allclose(t[i], a, rtol=1e-4, atol=1e-5)


def test_small_records_go_together(problem, monkeypatch):
  monkeypatch.setattr(microbatch, "CPU_PIECE_BYTES", 0)
  monkeypatch.setattr(microbatch, "LARGE_RECORD_BYTES", 1 << 30)
  assert sizes(*problem)[-1] == 23


@pytest.mark.slow
def test_a_network_trained_in_pieces_ends_where_it_would_whole(monkeypatch):
  """As experiments have it, within a thousandth of what an attack reads."""
  rng = np.random.default_rng(0)
  fixed = Records(
    rng.uniform(size=(12, 32, 32, 3)).astype(np.float32),
    rng.integers(10, size=12),
  )
  target = Records(fixed.x[0] ** 2, fixed.y[1])
  model = models.build("convnet", 10, (32, 32, 3), {})
  keys = Keys(prng.root(0), prng.root(1))
  spec = Recipe(3, optimizer_options=dict(momentum=0.9))

  def run(target):
    train = jax.jit(loop.make_train(model, spec))
    return tree.flatten(train(keys, fixed, target, HParams(0.1)))

  def loops(target):
    train = loop.make_train(model, spec)
    text = str(jax.make_jaxpr(train)(keys, fixed, target, HParams(0.1)))
    return text.count("scan[")

  cut, base = run(target), run(None)
  assert loops(target) == 2  # over the steps, and in each over the pieces
  monkeypatch.setattr(microbatch, "LARGE_RECORD_BYTES", 1 << 40)
  assert loops(target) == 1
  whole = run(target)
  error = np.sqrt(np.mean((cut - whole) ** 2) / np.mean((whole - base) ** 2))
  assert error < 1e-3
