"""Smoothed labels, shifted images, a target that counts for more or less."""

import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, prng, registry, tree
from informed_recon.training import ensemble, mechanisms
from informed_recon.training.mechanisms import augmented, none
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records, UserError

KEYS = ensemble.model_keys(prng.root(0), ensemble.Threat(), 7)
HPARAMS = HParams(0.3, 1e-3)


@pytest.fixture
def problem(make_records):
  model = models.build("linear", 3, (4, 4, 1), {})
  target = Records(*(a[0] for a in make_records(1, seed=1)))
  return model, model.init(KEYS.init), make_records(6), target


def _gradient(problem, mechanism, step=0, steps=5, **options):
  model, params, fixed, target = problem
  recipe = Recipe(steps, mechanism=mechanism, mechanism_options=options)
  make = registry.find("training.mechanisms", mechanism).make
  found = make(model, recipe)(KEYS, step, params, fixed, target, HPARAMS)
  return np.asarray(tree.flatten(found))


@pytest.mark.parametrize(
  "name, options",
  [
    ("smoothed", dict(smoothing=0.0)),
    ("augmented", dict(shift=0)),
    ("weighted", dict(copies=1, forgotten=0)),
  ],
)
def test_without_effect_it_is_plain_training(problem, name, options):
  np.testing.assert_allclose(
    _gradient(problem, name, **options), _gradient(problem, "none"), atol=1e-7
  )


def test_smoothing_is_the_mean_over_labels(problem):
  """Of the loss with the label, and the loss with every class."""
  model, params, fixed, target = problem
  plain = none.make(model, Recipe(5))

  def with_label(k):
    relabelled = fixed._replace(y=jnp.full_like(fixed.y, k))
    like = target._replace(y=jnp.int32(k))
    return tree.flatten(plain(KEYS, 0, params, relabelled, like, HPARAMS))

  uniform = np.mean([with_label(k) for k in range(3)], 0)
  expected = 0.8 * _gradient(problem, "none") + 0.2 * uniform
  found = _gradient(problem, "smoothed", smoothing=0.2)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_copies_are_records_more(problem):
  model, params, fixed, target = problem
  many = Records(
    np.concatenate([fixed.x, target.x[None], target.x[None]]),
    np.concatenate([fixed.y, target.y[None], target.y[None]]),
  )
  expected = none.make(model, Recipe(5))(KEYS, 0, params, many, target, HPARAMS)
  found = _gradient(problem, "weighted", copies=3)
  np.testing.assert_allclose(found, tree.flatten(expected), atol=1e-6)


def test_the_last_steps_are_those_of_the_others_alone(problem):
  model, params, fixed, _ = problem
  alone = none.make(model, Recipe(5))(KEYS, 3, params, fixed, None, HPARAMS)
  options = dict(copies=2, forgotten=2)
  found = [_gradient(problem, "weighted", step=s, **options) for s in (2, 3)]
  np.testing.assert_allclose(found[1], tree.flatten(alone), atol=1e-6)
  assert np.abs(found[0] - found[1]).max() > 1e-3


def test_shifts_move_images_and_differ_between_steps(problem):
  x = np.arange(1.0, 17.0).reshape(1, 4, 4, 1)
  moved = augmented.shifted(x, jnp.array([[2, 0]]), 1)[0, ..., 0]
  # A corner one row further down and one column to the left.
  np.testing.assert_array_equal(moved[:3, 1:], x[0, 1:, :3, 0])
  np.testing.assert_array_equal(moved[3], 0)
  np.testing.assert_array_equal(moved[:, 0], 0)
  one, other = (_gradient(problem, "augmented", step=s) for s in (0, 1))
  assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize(
  "name, options, message",
  [
    ("smoothed", dict(smoothing=1.0), r"smoothing must lie in \[0, 1\)"),
    ("augmented", dict(shift=-1), "shift must be a whole number"),
    ("weighted", dict(copies=0), "copies must be .* at least 1, got 0"),
    ("weighted", dict(copy=2), "unknown .*'copy'.*; known: copies, forgotten"),
  ],
)
def test_what_makes_no_sense_is_refused(problem, name, options, message):
  with pytest.raises(UserError, match=message):
    _gradient(problem, name, **options)


def test_a_mechanism_brings_its_options():
  assert mechanisms.defaults("weighted") == dict(copies=1, forgotten=0)
  assert mechanisms.defaults("none") == {}
