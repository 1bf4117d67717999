"""The contract of every reconstructor network, found by its file."""

import math

import jax
import numpy as np
import pytest

from informed_recon import models, reconstructors, registry
from informed_recon.tree import Leaf
from informed_recon.types import UserError

SHAPES = [(8, 8, 1), (12, 12, 3)]
NAMES = registry.names("reconstructors")
TINY_MLP = dict(width=4)


def _network(name, shape, **options):
  layout = models.build("mlp", 5, shape, TINY_MLP).layout
  tiny = registry.find("reconstructors", name).TINY
  return reconstructors.build(name, layout, shape, tiny | options)


def _theta(shape, count=3, seed=1):
  params = models.build("mlp", 5, shape, TINY_MLP).num_params
  return np.random.default_rng(seed).normal(size=(count, params))


def _size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_contract(name, shape):
  network, theta = _network(name, shape, dropout=0.5), _theta(shape)
  keys = jax.random.split(jax.random.key(0), 3)
  variables = network.init(keys[0], theta, train=False)
  assert variables.keys() == {"params"}
  images = network.apply(variables, theta, train=False)
  assert images.shape == (3, *shape)
  assert (images > 0).all() and (images < 1).all()
  assert not np.allclose(images[0], images[1])
  # Answers do not depend on what else is in the batch.
  alone = network.apply(variables, theta[1:2], train=False)
  np.testing.assert_allclose(alone, images[1:2], atol=1e-5)
  stacked = jax.vmap(lambda t: network.apply(variables, t[None], train=False))
  np.testing.assert_allclose(stacked(theta)[:, 0], images, atol=1e-5)
  # Dropout acts in training alone, by the key that is given.
  dropped = [
    network.apply(variables, theta, train=True, rngs=dict(dropout=k))
    for k in keys[1:]
  ]
  assert not np.allclose(dropped[0], images)
  assert not np.allclose(dropped[0], dropped[1])
  for leaf in jax.tree.leaves(variables):
    assert np.isfinite(leaf).all()


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts(name):
  shape = (8, 8, 1)
  params = 64 * 4 + 4 + 4 * 5 + 5
  trunk = params * 16 + 16 + 16 * 16 + 16
  golden = {
    "mlp": trunk + 16 * 64 + 64,
    "bilinear": trunk + (16 * 4 + 4) + (16 * 64 + 64) + 64 * 4,
  }
  assert name in golden, f"add a row for {name}"
  variables = _network(name, shape).init(
    jax.random.key(0), _theta(shape), train=False
  )
  assert _size(variables) == golden[name]


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_lists_the_known(name):
  message = f"'{name}' has no option 'widht'; known: activation, .*width"
  with pytest.raises(UserError, match=message) as error:
    _network(name, (8, 8, 1), widht=3)
  known = str(error.value).split("known: ")[1].split(", ")
  assert not {"layout", "record_shape", "parent"} & set(known)


def test_bilinear_equals_its_formula():
  shape, hidden = (4, 4, 1), 4
  network, theta = _network("bilinear", shape, depth=1), _theta(shape)
  params = network.init(jax.random.key(0), theta, train=False)["params"]
  # Nothing may vanish by its initial value: all leaves at random.
  rng = np.random.default_rng(2)
  params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape), params)
  ours = network.apply(dict(params=params), theta, train=False)

  def dense(name, x):
    return x @ params[name]["kernel"] + params[name]["bias"]

  layout = models.build("mlp", 5, shape, TINY_MLP).layout
  kernel = next(leaf for leaf in layout if leaf.name == "Dense_0/kernel")
  pre = dense("Dense_0", theta)
  x = (
    0.5
    * pre
    * (1 + np.tanh(math.sqrt(2 / math.pi) * (pre + 0.044715 * pre**3)))
  )
  errors, free = dense("errors", x), dense("free", x)
  logits = np.zeros((len(theta), 16))
  for b in range(len(theta)):
    for p in range(16):
      logits[b, p] = free[b, p]
      for h in range(hidden):
        weight = theta[b, kernel.start + p * hidden + h]
        logits[b, p] += params["scale"][p, h] * weight * errors[b, h]
  expected = (1 / (1 + np.exp(-logits))).reshape(-1, *shape)
  np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_bilinear_refuses_a_model_without_a_dense_first_layer():
  layout = (
    Leaf("Conv_0/kernel", (3, 3, 1, 4), 0),
    Leaf("Dense_0/kernel", (256, 5), 36),  # dense, but not on the pixels
  )
  options = registry.find("reconstructors", "bilinear").TINY
  with pytest.raises(UserError, match="fully connected on 64 inputs"):
    reconstructors.build("bilinear", layout, (8, 8, 1), options)
  # The one that needs no structure takes it.
  reconstructors.build("mlp", layout, (8, 8, 1), options)
