"""Adversarial training of selected records, against a plain-Python step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, prng, tree
from informed_recon.training import ensemble, loop
from informed_recon.training.mechanisms import robust
from informed_recon.training.recipe import HParams, Recipe, cross_entropy
from informed_recon.types import Records, UserError

ROOT = prng.root(0)


@pytest.fixture(scope="module")
def mlp():
  return models.build("mlp", 3, (4, 4, 1), dict(width=5))


def trained(mlp, fixed, target, **recipe):
  train = jax.jit(loop.make_train(mlp, Recipe(5, **recipe), transcript=True))
  keys = ensemble.model_keys(ROOT, ensemble.Threat(), 7)
  return train(keys, fixed, target, HParams(0.3, 1e-3))


@pytest.mark.parametrize("batch_size", [0, 3])
def test_fraction_zero_is_plain_training_to_the_bit(
  mlp, make_records, batch_size
):
  fixed, targets = make_records(8), make_records(1, seed=1)
  target = Records(*(a[0] for a in targets))
  given = mlp, fixed, target
  plain, _ = trained(*given, batch_size=batch_size, mechanism="none")
  found, _ = trained(
    *given,
    batch_size=batch_size,
    mechanism="robust",
    mechanism_options=dict(fraction=0.0),
  )
  assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), plain, found))
  other, _ = trained(*given, batch_size=batch_size, mechanism="robust")
  assert not np.array_equal(tree.flatten(other), tree.flatten(plain))


@pytest.mark.parametrize(("fraction", "mix"), [(1.0, 1.0), (0.4, 0.7)])
def test_a_step_is_that_of_the_formula(mlp, make_records, fraction, mix):
  """Every record for itself, in Python; one FGSM step."""
  fixed, targets = make_records(9), make_records(1, seed=1)
  target = Records(*(a[0] for a in targets))
  _, shown = trained(
    *(mlp, fixed, target),
    mechanism="robust",
    mechanism_options=dict(fraction=fraction, mix=mix),
  )
  params = jax.tree.map(lambda a: a[3], shown.params)
  x = jnp.concatenate([fixed.x, targets.x])
  y = jnp.concatenate([fixed.y, targets.y])

  def loss(params, x, y):
    return cross_entropy(mlp.apply(params, x[None]), y[None])[0]

  by_params, by_x = (jax.jit(jax.grad(loss, i)) for i in (0, 1))
  losses = [float(loss(params, a, b)) for a, b in zip(x, y)]
  chosen = np.argsort(losses)[::-1][: round(fraction * 10)]
  total = jax.tree.map(lambda p: 1e-3 * p, params)
  for i in range(10):
    share = mix * (i in chosen)
    moved = x[i] + 0.1 * jnp.sign(by_x(params, x[i], y[i]))
    for weight, record in ((1 - share, x[i]), (share, moved.clip(0, 1))):
      g = by_params(params, record, y[i])
      total = jax.tree.map(lambda t, g: t + weight * g / 10, total, g)  # noqa: B023
  step = jax.tree.map(lambda a: a[3], shown.gradient)
  np.testing.assert_allclose(tree.flatten(step), tree.flatten(total), atol=1e-6)


def test_attacks_stay_in_bounds_and_more_steps_do_more(mlp, make_records):
  x, y = make_records(20)
  params = mlp.init(ROOT)

  def after(steps):
    options = robust.Options(steps=steps, radius=0.2)
    moved = robust.attack(mlp, params, x, y, options)
    assert np.abs(moved - x).max() <= 0.2 + 1e-6
    assert moved.min() >= 0 and moved.max() <= 1
    return cross_entropy(mlp.apply(params, moved), y)

  clean = cross_entropy(mlp.apply(params, x), y)
  one, many = after(1), after(10)
  assert (one > clean).all()
  assert many.mean() >= one.mean() - 1e-4


def test_training_can_be_followed_through_the_attacks(mlp, make_records):
  """Simulation needs the weights' derivative in a record that is only ever seen
  attacked: that of a central difference."""
  options = dict(fraction=1.0, mix=1.0, radius=0.05)
  recipe = Recipe(5, mechanism="robust", mechanism_options=options)
  train = loop.make_train(mlp, recipe)
  keys = ensemble.model_keys(ROOT, ensemble.Threat(), 7)
  with jax.enable_x64(True):
    fixed, targets = (
      Records(np.float64(r.x), r.y)
      for r in (make_records(8), make_records(1, seed=1))
    )
    target = Records(0.1 + 0.8 * targets.x[0], targets.y[0])

    @jax.jit
    def weights(x):
      hparams = HParams(0.3, 1e-3)
      return tree.flatten(train(keys, fixed, Records(x, target.y), hparams))

    way = np.random.default_rng(0).normal(size=target.x.shape)
    way, h = way / np.linalg.norm(way), 2e-3  # of float32
    _, slope = jax.jvp(weights, (target.x,), (way,))
    ahead, behind = (weights(target.x + s * h * way) for s in (1, -1))
    expected = (np.asarray(ahead) - behind) / (2 * h)
  assert np.linalg.norm(expected) > 1e-4
  assert np.linalg.norm(slope - expected) <= 0.03 * np.linalg.norm(expected)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(fraction=1.5), "fraction must lie in"),
    (dict(mix=-1), "mix must lie in"),
    (dict(steps=0), "steps must be"),
    (dict(radius=0), "radius must lie in"),
    (dict(epsilon=0.1), "unknown training.privacy.options"),
  ],
)
def test_refuses_in_one_line(mlp, options, message):
  recipe = Recipe(5, mechanism="robust", mechanism_options=options)
  with pytest.raises(UserError, match=message):
    robust.make(mlp, recipe)
  with pytest.raises(UserError, match=message):
    robust.statement(dict(options=options), 5)
