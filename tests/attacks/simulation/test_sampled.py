"""A derivative by a sample of the fixed set, beside that of all of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models
from informed_recon.attacks import simulation
from informed_recon.training import loop
from informed_recon.training.recipe import HParams, Keys, Recipe
from informed_recon.types import Records, UserError

KEYS = Keys(jax.random.key(1), jax.random.key(2))
SHAPE, CLASSES = (4, 4, 1), 3


@pytest.fixture(scope="module")
def mlp():
  return models.build("mlp", CLASSES, SHAPE, dict(width=5))


def _derivative(model, make_records, sample):
  """End of training and its derivative by the target, along a direction."""
  fixed = make_records(40, SHAPE, CLASSES)
  target = Records(*(a[0] for a in make_records(1, SHAPE, CLASSES, seed=9)))
  spec = Recipe(steps=40)
  gradient = simulation.sampled_gradient(model, spec, sample)
  train = loop.make_train(model, spec, gradient=gradient)

  def end(x):
    return train(KEYS, fixed, target._replace(x=x), HParams(0.3, 0.01))

  along = np.random.default_rng(3).normal(size=SHAPE).astype(np.float32)
  both = jax.jvp(end, (jnp.asarray(target.x),), (along,))
  return [np.concatenate(list(map(np.ravel, jax.tree.leaves(t)))) for t in both]


def test_a_sample_changes_no_value_and_comes_near_the_derivative(
  mlp, make_records
):
  value, whole = _derivative(mlp, make_records, 0)
  plain, everyone = _derivative(mlp, make_records, 40)
  np.testing.assert_allclose(plain, value, atol=1e-5)
  np.testing.assert_allclose(everyone, whole, atol=1e-4 * abs(whole).max())
  for sample, limit in ((20, 0.05), (8, 0.2)):
    sampled, part = _derivative(mlp, make_records, sample)
    np.testing.assert_allclose(sampled, plain, atol=1e-6)
    error = np.linalg.norm(part - whole) / np.linalg.norm(whole)
    assert 1e-6 < error < limit


@pytest.mark.parametrize(
  "sample, spec",
  [
    (-1, Recipe()),
    (4, Recipe(batch_size=5)),
    (4, Recipe(mechanism="dp_sgd")),
    (4, Recipe(products="bfloat16")),
  ],
  ids=str,
)
def test_a_sample_that_makes_no_sense(mlp, sample, spec):
  with pytest.raises(UserError, match="sample (must|of)"):
    simulation.sampled_gradient(mlp, spec, sample)
