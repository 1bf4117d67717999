"""Clipped sums against the loop that holds every record's gradient."""

import functools
import math
import operator
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import models, registry, tree
from informed_recon.models import Model
from informed_recon.training import clipping
from informed_recon.types import UserError

CLASSES = 3
clipped_sum = jax.jit(clipping.clipped_sum, static_argnums=0)


@functools.partial(jax.jit, static_argnums=0)
def materialised(apply, params, x, y, weights, clip_norm):
  """The definition, from a gradient for each record, and their norms."""

  def gradient(x, y):
    def loss(params):
      log_p = jax.nn.log_softmax(apply(params, x[None])[0])
      return -log_p[y]

    return jax.grad(loss)(params)

  each = jax.vmap(gradient)(x, y)
  norms = jax.vmap(optax.tree.norm)(each)
  scale = weights * jnp.where(norms > clip_norm, clip_norm / norms, 1.0)
  return jax.tree.map(lambda g: jnp.tensordot(scale, g, 1), each), norms


class Convolutions(nn.Module):
  """Every branch: Gram matrices, kernel gradients, norm scales, groups."""

  @nn.compact
  def __call__(self, x):
    x = nn.GroupNorm(2)(nn.Conv(4, (3, 3))(x))
    x = nn.Conv(4, (2, 2), feature_group_count=2, use_bias=False)(nn.gelu(x))
    x = nn.Conv(8, (3, 3), 2, padding="CIRCULAR", kernel_dilation=2)(nn.gelu(x))
    x = nn.Dense(5)(nn.gelu(x))  # at every pixel
    return nn.Dense(CLASSES)(x.reshape(len(x), -1))


class Shared(nn.Module):
  """One dense layer called twice, once on several positions."""

  @nn.compact
  def __call__(self, x):
    layer, norm = nn.Dense(4), nn.LayerNorm()
    x = norm(nn.tanh(layer(x.reshape(len(x), -1, 4))))
    return nn.Dense(CLASSES)(layer(norm(x).mean(1)))


class Attention(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = x.reshape(len(x), -1, 4)
    x = nn.MultiHeadDotProductAttention(num_heads=2)(x)
    return nn.Dense(CLASSES)(x.mean(1))


class Embedded(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = nn.Embed(4, 3)((3.9 * jax.nn.sigmoid(x)).astype(int)[..., 0])
    return nn.Dense(CLASSES)(nn.tanh(x).sum((1, 2)))


def _model(network, shape):
  example = jnp.zeros((1, *shape))
  layout = tree.layout(
    jax.eval_shape(network.init, jax.random.key(0), example)["params"]
  )
  return Model(
    init=lambda key: network.init(key, example)["params"],
    apply=lambda params, x: network.apply({"params": params}, x),
    layout=layout,
    shape=shape,
  )


def _plug_in(name, shape=(4, 4, 1)):
  options = registry.find("models", name).TINY
  return models.build(name, CLASSES, shape, options)


MODELS = {
  **{name: lambda n=name: _plug_in(n) for name in registry.names("models")},
  "convolutions": lambda: _model(Convolutions(), (6, 6, 2)),
  "shared": lambda: _model(Shared(), (4, 4, 1)),
  "attention": lambda: _model(Attention(), (4, 4, 1)),
  "embedded": lambda: _model(Embedded(), (4, 4, 1)),
}


def _problem(name, make_records, n=9):
  model = MODELS[name]()
  records = make_records(n, model.shape, CLASSES)
  params = model.init(jax.random.key(1))
  noise = optax.tree.random_like(
    jax.random.key(2), params, jax.random.normal
  )  # away from zero biases
  return model, jax.tree.map(lambda p, e: p + 0.2 * e, params, noise), records


def _assert_same(ours, expected, tolerance=3e-6):
  error = optax.tree.norm(optax.tree.sub(ours, expected))
  assert error < tolerance * optax.tree.norm(expected)


@pytest.mark.parametrize(
  "name",
  [
    # The branches of a residual network are those of `convolutions`.
    pytest.param(n, marks=[pytest.mark.slow] * (n in ("resnet", "patches")))
    for n in MODELS
  ],
)
def test_equals_the_loop(name, make_records):
  model, params, (x, y) = _problem(name, make_records)
  weights = jnp.array([1.0, 0.0, 1.0, 2.5, 1.0, 1.0, 0.0, 1.0, 1.0])
  _, norms = materialised(model.apply, params, x, y, weights, 1.0)
  # All are clipped; some are; none is; none can be.
  for clip_norm in (1e-3, float(jnp.median(norms)), 1e3, math.inf):
    expected, _ = materialised(model.apply, params, x, y, weights, clip_norm)
    ours = clipped_sum(model.apply, params, x, y, weights, clip_norm)
    _assert_same(ours, expected)


@pytest.mark.parametrize("name", MODELS)
def test_all_parameters_are_seen(name, make_records):
  model, params, (x, _) = _problem(name, make_records)
  layers, _ = clipping._layers(model.apply, params, x)
  sizes = [p.size for la in layers for p in jax.tree.leaves(la.params)]
  assert sum(sizes) == model.num_params


@pytest.mark.parametrize("name", ["mlp", "convolutions"])
def test_many_models_under_vmap(name, make_records):
  model, params, (x, y) = _problem(name, make_records)
  clip_norm = 0.5
  models = [jax.tree.map(lambda p, c=c: c * p, params) for c in (1, 0.5, -1)]
  weights = jnp.eye(9)[:3] + 1.0  # one set a model
  rows = jax.jit(
    jax.vmap(
      lambda p, w: clipping.clipped_sum(model.apply, p, x, y, w, clip_norm)
    )
  )(jax.tree.map(lambda *p: jnp.stack(p), *models), weights)
  for i, (own, weight) in enumerate(zip(models, weights)):
    expected, norms = materialised(model.apply, own, x, y, weight, clip_norm)
    assert norms.max() > clip_norm  # it binds
    _assert_same(jax.tree.map(operator.itemgetter(i), rows), expected)


def test_no_record_has_more_weight_than_the_clip_norm(make_records):
  model, params, (x, y) = _problem("mlp", make_records)
  x = 100 * x  # gradients far above the clip norm
  sizes = [
    optax.tree.norm(clipped_sum(model.apply, params, x, y, only, 0.3))
    for only in jnp.eye(9)
  ]
  assert max(sizes) == pytest.approx(0.3, rel=1e-5)


def test_equals_jax_privacy(make_records):
  peer = pytest.importorskip("jax_privacy")
  model, params, (x, y) = _problem("mlp", make_records)

  def loss(params, x, y):
    log_p = jax.nn.log_softmax(model.apply(params, x))
    return -log_p[jnp.arange(len(y)), y].sum()

  theirs = peer.clipping.clipped_grad(
    loss, l2_clip_norm=0.5, batch_argnums=(1, 2)
  )
  ours = clipped_sum(model.apply, params, x, y, 1.0, 0.5)
  _assert_same(ours, theirs(params, x, y))


def test_a_record_without_gradient_adds_nothing():
  """Zero norms divide nothing."""
  network = nn.Dense(CLASSES, use_bias=False)
  x, y = jnp.zeros((2, 4)), jnp.zeros(2, jnp.int32)
  params = network.init(jax.random.key(0), x)["params"]
  for clip_norm in (1.0, math.inf):
    own = clipping.clipped_sum(
      *(lambda p, x: network.apply({"params": p}, x), params, x, y),
      *(1.0, clip_norm),
    )
    np.testing.assert_array_equal(own["kernel"], 0.0)


def _largest_array(function, *args):
  text = jax.jit(function).lower(*args).compile().as_text()
  shapes = re.findall(r"\b[a-z]+\d+\[([\d,]*)\]", text)
  return max(math.prod(map(int, s.split(","))) for s in shapes if s)


def test_no_gradient_of_a_record_is_held(make_records):
  model = models.build("mlp", CLASSES, (8, 8, 1), dict(width=16))
  n = 64
  x, y = make_records(n, model.shape, CLASSES)
  params = model.init(jax.random.key(0))
  args = params, x, y, jnp.ones(n), 0.1

  def ours(*args):
    return clipping.clipped_sum(model.apply, *args)

  def loop(*args):
    return materialised(model.apply, *args)[0]

  kernel = 64 * 16
  assert _largest_array(ours, *args) < 8 * kernel
  assert _largest_array(loop, *args) >= n * kernel  # the detector detects


class Coupled(nn.Module):
  """Looks at the batch."""

  @nn.compact
  def __call__(self, x):
    x = x.reshape(len(x), -1)
    return nn.Dense(CLASSES)(x - 0.5 * x.mean(0))


class Tied(nn.Module):
  """Uses a kernel once more, behind its module's back."""

  @nn.compact
  def __call__(self, x):
    layer = nn.Dense(16)
    x = nn.tanh(layer(x.reshape(len(x), -1)))
    kernel = layer.variables["params"]["kernel"]
    return nn.Dense(CLASSES)(x @ kernel.T)


class OwnScale(nn.Module):
  """Has a parameter beside its layers'."""

  @nn.compact
  def __call__(self, x):
    scale = self.param("scale", nn.initializers.ones, ())
    return nn.Dense(CLASSES)(scale * x.reshape(len(x), -1))


class Attended(nn.Module):
  """Never calls its embedding."""

  @nn.compact
  def __call__(self, x):
    return nn.Embed(CLASSES, 16).attend(x.reshape(len(x), -1))


class Pixels(nn.Module):
  """Moves pixels into the batch axis."""

  @nn.compact
  def __call__(self, x):
    pixels = nn.Dense(CLASSES)(x.reshape(-1, 1))
    return pixels.reshape(len(x), -1, CLASSES).sum(1)


class Pair(nn.Module):
  @nn.compact
  def __call__(self, x):
    x = x.reshape(len(x), -1)
    return Two()(x, x)


class Two(nn.Module):
  @nn.compact
  def __call__(self, a, b):
    kernel = self.param("kernel", nn.initializers.ones, (16, CLASSES))
    return (a * b) @ kernel


@pytest.mark.parametrize(
  "network, message",
  [
    (Coupled(), "they are coupled within a batch, or"),
    (Tied(), "used outside of their module's call"),
    (OwnScale(), "module Dense_0 lies in one that has parameters of its own"),
    (Attended(), "module Embed_0 is used in another way than by calling it"),
    (Pixels(), "module Dense_0 does not map one array to one array with the"),
    (Pair(), "module Two_0 does not map one array to one array"),
  ],
)
def test_what_cannot_be_clipped_is_refused(network, message):
  with pytest.raises(UserError, match=message):
    clipping.check(_model(network, (4, 4, 1)))


@pytest.mark.parametrize(
  "name, pixel",
  [("linear", 3e38), ("mlp", np.inf), ("mlp", 1e25)]
  + [("convolutions", p) for p in (3e38, np.nan)],
)
def test_a_record_that_overflows_adds_nothing(name, pixel):
  """Drawn or not, it must not turn the sum of the others into NaN."""
  shape = (6, 6, 1)
  if name == "convolutions":
    net = Convolutions()
    params = net.init(jax.random.key(0), jnp.zeros((1, *shape)))["params"]

    def apply(params, x):
      return net.apply({"params": params}, x)

  else:
    model = models.build(name, CLASSES, shape, {})
    params, apply = model.init(jax.random.key(0)), model.apply
  x = np.array(jax.random.normal(jax.random.key(1), (4, *shape)))
  y = np.arange(4) % CLASSES
  x[2, 1, 1] = pixel
  others = np.array([0, 1, 3])
  expected = clipped_sum(apply, params, x[others], y[others], 1.0, 0.1)
  for drawn in (0.0, 1.0):
    weights = np.array([1.0, 1.0, drawn, 1.0], np.float32)
    found = clipped_sum(apply, params, x, y, weights, 0.1)
    # 1e25 need not overflow everywhere; then the clip norm bounds it.
    gap = optax.tree.norm(optax.tree.sub(found, expected))
    assert gap <= (0.1 * drawn if pixel == 1e25 else 0) + 1e-5


def _recurrent(x):
  x = x.reshape(x.shape[0], 4, -1)
  return nn.Dense(3)(nn.RNN(nn.GRUCell(5))(x)[:, -1])


def _remat(x):
  return nn.Dense(3)(nn.remat(nn.Dense)(7)(x.reshape(x.shape[0], -1)))


def _normed(x):
  return nn.Dense(3)(nn.WeightNorm(nn.Dense(7))(x.reshape(x.shape[0], -1)))


def _masked(x):
  x = nn.Conv(2, (3, 3), mask=jnp.ones((3, 3, 1, 2)))(x)
  return nn.Dense(3)(x.reshape(x.shape[0], -1))


@pytest.mark.parametrize("layers", [_recurrent, _remat, _normed, _masked])
def test_modules_that_cannot_be_taken_apart_are_one_line(layers):
  class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
      return layers(x)

  network, shape = Network(), (4, 4, 1)
  example = jnp.zeros((1, *shape))
  params = network.init(jax.random.key(0), example)["params"]
  model = Model(
    init=lambda key: network.init(key, example)["params"],
    apply=lambda params, x: network.apply({"params": params}, x),
    layout=tree.layout(params),
    shape=shape,
  )
  with pytest.raises(UserError, match="private training cannot clip") as error:
    clipping.check(model)
  assert "\n" not in str(error.value)
