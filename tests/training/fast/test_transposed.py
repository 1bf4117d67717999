"""A network read from its jaxpr computes what the network computes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, registry, tree
from informed_recon.models import Model
from informed_recon.training.fast import transposed

SHAPE = (4, 5, 2)


def _model(network):
  example = jnp.zeros((1, *SHAPE))
  params = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
  return Model(
    lambda key: network.init(key, example)["params"],
    lambda params, x: network.apply({"params": params}, x),
    tree.layout(params),
    SHAPE,
  )


def _compare(model):
  """Logits and gradients of some function of them, both ways."""
  found = transposed.read(model)
  leaves, structure = jax.tree.flatten(model.init(jax.random.key(0)))
  keys = jax.random.split(jax.random.key(1), len(leaves) + 1)
  leaves = [
    a + 0.1 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys)
  ]
  x = jax.random.normal(keys[-1], (6, *SHAPE))

  def ours(leaves):
    return found.rest(leaves, (x.reshape(6, -1) @ leaves[found.kernel]).T).T

  def its(leaves):
    return model.apply(jax.tree.unflatten(structure, leaves), x)

  def moved(f):
    return jax.grad(lambda leaves: jnp.sum(jnp.sin(f(leaves))))(leaves)

  np.testing.assert_allclose(ours(leaves), its(leaves), atol=1e-5)
  for a, b in zip(moved(ours), moved(its)):
    np.testing.assert_allclose(a, b, atol=1e-4)


ACTIVATIONS = "celu elu gelu leaky_relu relu silu softplus sigmoid tanh".split()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation):
  options = dict(width=3, depth=2, activation=activation)
  _compare(models.build("mlp", 3, SHAPE, options))


@pytest.mark.parametrize("use_bias", [True, False])
def test_linear(use_bias):
  _compare(models.build("linear", 3, SHAPE, dict(use_bias=use_bias)))


class Residual(nn.Module):
  """Normalisation, a residual connection and a product with its own axes."""

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(6)(x.reshape(len(x), -1))
    x = x + nn.Dense(6)(nn.LayerNorm()(nn.relu(x)))
    return nn.softmax(nn.Dense(3)(x))


def test_a_network_nobody_has_seen():
  _compare(_model(Residual()))


class Skip(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = x.reshape(len(x), -1)
    return nn.Dense(3)(nn.tanh(nn.Dense(4)(x))) + nn.Dense(3)(x)


class Scaled(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(3)(x.reshape(len(x), -1) / 2)


class Tied(nn.Module):
  @nn.compact
  def __call__(self, x):
    kernel = self.param("kernel", nn.initializers.normal(), (40, 4))
    return nn.tanh(x.reshape(len(x), -1) @ kernel) @ kernel[:3].T


class Convolved(nn.Module):
  @nn.compact
  def __call__(self, x):
    return nn.Dense(3)(nn.Conv(2, (3, 3))(x).reshape(len(x), -1))


class Rowwise(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Dense(3)(x.reshape(len(x), 20, 2))
    return nn.Dense(3)(x.reshape(len(x), -1))


@pytest.mark.parametrize("network", [Skip, Scaled, Tied, Convolved, Rowwise])
def test_what_cannot_be_read_is_left_alone(network):
  assert transposed.read(_model(network())) is None


# Every shipped model, and whether it is to take the faster way: another
# version of jax or flax that writes them otherwise must not slow them down
# unnoticed.
READ = dict(mlp=True, linear=True, convnet=False, resnet=False, patches=False)


def test_every_shipped_model_has_its_row():
  assert set(READ) == set(registry.names("models"))


@pytest.mark.parametrize("name", READ)
def test_which_shipped_models_are_read(name):
  tiny = registry.find("models", name).TINY
  model = models.build(name, 3, (8, 8, 2), tiny)
  assert (transposed.read(model) is not None) == READ[name]
