"""What every file in mechanisms/ must do."""

import jax
import numpy as np
import pytest

from informed_recon import models, prng, registry, tree
from informed_recon.training import ensemble, loop
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records

NAMES = registry.names("training.mechanisms")
ROOT = prng.root(0)
SHAPE, CLASSES = (4, 4, 1), 3
HPARAMS = HParams(0.3, 1e-3, 0.5, 0.7)


@pytest.fixture(scope="module")
def mlp():
  return models.build("mlp", CLASSES, SHAPE, dict(width=5))


@pytest.mark.parametrize("name", NAMES)
def test_the_transcript_explains_the_training(mlp, make_records, name):
  """Gradients as the mechanism shows them, nothing else, move the model."""
  fixed, targets = make_records(6), make_records(1, seed=1)
  target = Records(*(a[0] for a in targets))
  train = loop.make_train(mlp, Recipe(4, mechanism=name), transcript=True)
  keys = ensemble.model_keys(ROOT, ensemble.Threat(), 7)
  last, shown = jax.jit(train)(keys, fixed, target, HPARAMS)
  at, moves = (jax.vmap(tree.flatten)(part) for part in shown)
  np.testing.assert_allclose(
    np.concatenate([at[1:], tree.flatten(last)[None]]),
    at - 0.3 * moves,
    atol=1e-6,
  )
  np.testing.assert_array_equal(at[0], tree.flatten(mlp.init(keys.init)))


@pytest.mark.parametrize("name", NAMES)
def test_an_ensemble_is_many_single_runs(mlp, make_records, name):
  fixed, targets = make_records(6), make_records(5, seed=1)
  train = loop.make_train(mlp, Recipe(4, mechanism=name))
  threat, ids = ensemble.Threat(), np.array([9, 3, 1000, 4, 7])
  many = ensemble.make_ensemble(train, threat)
  blocks = ensemble.train_blocks(many, ROOT, fixed, targets, ids, HPARAMS, 2)
  single = jax.jit(
    lambda model_id, target: tree.flatten(
      train(ensemble.model_keys(ROOT, threat, model_id), fixed, target, HPARAMS)
    )
  )
  for i, row in enumerate(np.concatenate(list(blocks))):
    target = Records(*(a[i] for a in targets))
    np.testing.assert_allclose(row, single(ids[i], target), atol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_statement_names_the_mechanism_and_epsilon(name):
  privacy = dict(
    clip_norm=0.1,
    noise_multiplier=10.0,
    epsilon=0.0,
    sampling_probability=1.0,
    delta=1e-5,
  )
  found = registry.find("training.mechanisms", name).statement(privacy, 100)
  assert found["mechanism"] == name
  assert (found["epsilon"] is None) == (name != "dp_sgd")
