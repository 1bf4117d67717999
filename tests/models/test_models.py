"""The contract of every architecture, found by its file."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from informed_recon import models, registry
from informed_recon.types import UserError

SHAPES = [(8, 8, 1), (12, 12, 3)]
NAMES = registry.names("models")
# Parameters of NAME with its TINY options, 5 classes, for each of SHAPES. A
# changed one changes what a stored run means. New files need no row.
GOLDEN = {
  "convnet": (20 + 57 + 12 * 5 + 5, 56 + 57 + 27 * 5 + 5),
  "linear": (64 * 5 + 5, 432 * 5 + 5),
  "mlp": (64 * 4 + 4 + 4 * 5 + 5, 432 * 4 + 4 + 4 * 5 + 5),
  "resnet": tuple(
    9 * c * 2  # stem
    + (4 + 36 + 4 + 36)  # norm, convolution, norm, convolution
    + (4 + 8 + 72 + 8 + 144)  # the same with a projected shortcut
    + (8 + 4 * 5 + 5)
    for c in (1, 3)
  ),
}


def _build(name, shape, **options):
  tiny = registry.find("models", name).TINY
  return models.build(name, 5, shape, tiny | options)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_contract(name, shape):
  model = _build(name, shape)
  keys = jax.random.split(jax.random.key(0), 2)
  params = [model.init(k) for k in keys]
  x = jax.random.uniform(jax.random.key(1), (3, *shape))
  logits = model.apply(params[0], x)
  assert logits.shape == (3, 5) and logits.dtype == jnp.float32
  assert np.isfinite(logits).all()
  # Records do not see one another: the attack's threat model stands on it.
  alone = model.apply(params[0], x[1:2])
  np.testing.assert_allclose(alone, logits[1:2], atol=1e-5)
  assert not np.allclose(logits[0], logits[1])
  # Models stack under vmap, and the key matters.
  stacked = jax.tree.map(lambda *a: jnp.stack(a), *params)
  both = jax.vmap(model.apply, (0, None))(stacked, x)
  np.testing.assert_allclose(both[0], logits, atol=1e-5)
  assert not np.allclose(both[0], both[1])


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_parameter_counts(name):
  for shape, expected in zip(SHAPES, GOLDEN[name]):
    model = _build(name, shape)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert model.num_params == expected
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def test_options_build_what_they_say():
  def names(name, **options):
    return [leaf.name for leaf in _build(name, (8, 8, 1), **options).layout]

  assert names("linear", use_bias=False) == ["Dense_0/kernel"]
  assert len(names("mlp", depth=3)) == 8
  assert _build("mlp", (8, 8, 1), width=7).layout[1].shape == (64, 7)


def test_a_residual_block_adds_to_what_it_sees():
  """With the kernels of its second convolutions at zero a stage of the first
  width is the identity: blocks more or less change nothing."""
  shape, x = (8, 8, 3), jax.random.uniform(jax.random.key(1), (3, 8, 8, 3))
  options = dict(widths=(4,), groups=2)
  one = _build("resnet", shape, blocks=1, **options)
  two = _build("resnet", shape, blocks=2, **options)
  params = two.init(jax.random.key(0))
  deep = two.apply(params, x)
  for name in ("Conv_2", "Conv_4"):
    params[name] = jax.tree.map(jnp.zeros_like, params[name])
  fewer = {k: params[k] for k in one.init(jax.random.key(0))}
  shallow = two.apply(params, x)
  np.testing.assert_allclose(shallow, one.apply(fewer, x), atol=1e-5)
  assert not np.allclose(shallow[0], shallow[1], atol=1e-3)  # x goes through
  assert not np.allclose(deep, shallow, atol=1e-2)


@pytest.mark.parametrize(
  "shape, options, message",
  [
    ((8,), {}, "wants images"),
    ((8, 8, 1), dict(widths=(4, 6), groups=4), r"divide them, got \(4, 6\)"),
    ((8, 8, 1), dict(widths=(4, 8), groups=0), "and groups that divide them"),
  ],
)
def test_what_the_resnet_cannot_be_is_said(shape, options, message):
  with pytest.raises(UserError, match=message):
    _build("resnet", shape, **options)


@pytest.mark.parametrize(
  "shape, patch", [((8, 9, 1), 2), ((8, 8, 1), 16), ((8, 8, 1), 0), ((8,), 2)]
)
def test_patches_cover_the_whole_image_or_are_refused(shape, patch):
  with pytest.raises(UserError, match=f"multiples of .*patch = {patch}, got"):
    _build("patches", shape, patch=patch)


def test_the_activation_is_applied():
  x = jax.random.normal(jax.random.key(1), (3, 8, 8, 1))
  outputs = []
  for name in ("relu", "elu", "tanh"):
    model = _build("mlp", (8, 8, 1), activation=name)
    outputs.append(model.apply(model.init(jax.random.key(0)), x))
  assert not np.allclose(outputs[0], outputs[1])
  assert not np.allclose(outputs[1], outputs[2])


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_lists_the_known(name):
  message = f"'{name}' has no option 'wdth'; known: "
  with pytest.raises(UserError, match=message) as error:
    _build(name, (8, 8, 1), wdth=3)
  # Neither flax's own fields nor what the project sets are options.
  known = str(error.value).split("known: ")[1].split(", ")
  assert not {"parent", "name", "num_classes"} & set(known)


def test_an_unknown_activation_lists_the_known():
  message = "unknown activation 'rellu'; known: .*relu"
  with pytest.raises(UserError, match=message):
    _build("mlp", (8, 8, 1), activation="rellu")
  with pytest.raises(UserError, match=message):
    models.activation("rellu")


class _NNX(nnx.Module):
  def __init__(self, shape, num_classes, *, rngs, width=4, norm=False):
    size = math.prod(shape)
    self.norm = nnx.BatchNorm(size, rngs=rngs) if norm else None
    self.first = nnx.Linear(size, width, rngs=rngs)
    self.last = nnx.Linear(width, num_classes, rngs=rngs)

  def __call__(self, x):
    x = x.reshape(len(x), -1)
    x = self.norm(x) if self.norm else x
    return self.last(jax.nn.elu(self.first(x)))


def test_an_nnx_module_equals_the_same_network_in_linen(monkeypatch):
  theirs = _build("mlp", (8, 8, 1), width=4)
  params = theirs.init(jax.random.key(0))
  monkeypatch.setattr(registry.find("models", "mlp"), "Network", _NNX)
  assert models.defaults("mlp") == dict(width=4, norm=False)
  model = models.build("mlp", 5, (8, 8, 1), dict(width=4))
  assert model.num_params == theirs.num_params
  x = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1))
  own = dict(first=params["Dense_0"], last=params["Dense_1"])
  expected = theirs.apply(params, x)
  np.testing.assert_allclose(model.apply(own, x), expected, atol=1e-6)
  stacked = jax.vmap(model.init)(jax.random.split(jax.random.key(0), 2))
  first, second = jax.vmap(model.apply, (0, None))(stacked, x)
  assert not np.allclose(first, second)
  with pytest.raises(UserError, match="norm/mean, norm/var.*couples"):
    models.build("mlp", 5, (8, 8, 1), dict(norm=True))
  with pytest.raises(UserError, match="no option 'wdth'; known: norm, width"):
    models.build("mlp", 5, (8, 8, 1), dict(wdth=4))


class _BatchNorm(nn.Module):
  num_classes: int

  @nn.compact
  def __call__(self, x):
    x = nn.BatchNorm(use_running_average=False)(x.reshape(len(x), -1))
    return nn.Dense(self.num_classes)(x)


class _GroupNorm(nn.Module):
  num_classes: int

  @nn.compact
  def __call__(self, x):
    x = nn.LayerNorm()(x.reshape(len(x), -1))
    return nn.Dense(self.num_classes)(x)


def test_models_that_couple_records_are_refused(monkeypatch):
  linear = registry.find("models", "linear")
  monkeypatch.setattr(linear, "Network", _BatchNorm)
  with pytest.raises(UserError, match="batch_stats.*couples the records"):
    models.build("linear", 5, (8, 8, 1), {})
  monkeypatch.setattr(linear, "Network", _GroupNorm)
  assert models.build("linear", 5, (8, 8, 1), {}).num_params == 64 * 7 + 5


def test_options_that_make_no_network():
  with pytest.raises(UserError, match="'mlp' cannot be built for inputs"):
    _build("mlp", (8, 8, 1), width=-1)


def test_a_layer_without_units():
  class Empty(nn.Module):
    @nn.compact
    def __call__(self, x):
      return x[:, :1] + self.param("w", nn.initializers.zeros, (0,)).sum()

  with pytest.raises(UserError, match="without units"):
    models.shapes(Empty(), "empty", jnp.zeros((1, 3)))
