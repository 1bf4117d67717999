"""The contract of every reconstructor network, found by its file."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, registry
from informed_recon.attacks.reconstructor import networks
from informed_recon.attacks.reconstructor.networks import conv
from informed_recon.tree import Leaf
from informed_recon.types import UserError

SHAPES = [(8, 8, 1), (12, 12, 3)]
NAMES = registry.names("attacks.reconstructor.networks")
TINY_MLP = dict(width=4)


def _network(name, shape, **options):
  layout = models.build("mlp", 5, shape, TINY_MLP).layout
  tiny = registry.find("attacks.reconstructor.networks", name).TINY
  return networks.build(name, layout, shape, tiny | options)


def _theta(shape, count=3, seed=1):
  params = models.build("mlp", 5, shape, TINY_MLP).num_params
  return np.random.default_rng(seed).normal(size=(count, params))


def _size(tree):
  return sum(x.size for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_contract(name, shape):
  drops = "dropout" in networks.defaults(name)
  options = dict(dropout=0.5) if drops else {}
  network, theta = _network(name, shape, **options), _theta(shape)
  keys = jax.random.split(jax.random.key(0), 3)
  init = jax.jit(network.init, static_argnames="train")
  apply = jax.jit(network.apply, static_argnames="train")
  variables = init(keys[0], theta, train=False)
  assert variables.keys() == {"params"}
  images = apply(variables, theta, train=False)
  assert images.shape == (3, *shape)
  assert (images > 0).all() and (images < 1).all()
  assert not np.allclose(images[0], images[1])
  # Answers do not depend on what else is in the batch.
  alone = apply(variables, theta[1:2], train=False)
  np.testing.assert_allclose(alone, images[1:2], atol=1e-5)
  stacked = jax.jit(
    jax.vmap(lambda t: network.apply(variables, t[None], train=False))
  )
  np.testing.assert_allclose(stacked(theta)[:, 0], images, atol=1e-5)
  # Dropout acts in training alone, by the key that is given.
  dropped = [
    apply(variables, theta, train=True, rngs=dict(dropout=k)) for k in keys[1:]
  ]
  assert np.allclose(dropped[0], images) != drops
  assert np.allclose(dropped[0], dropped[1]) != drops
  for leaf in jax.tree.leaves(variables):
    assert np.isfinite(leaf).all()


def test_parameter_counts():
  """Of the networks that ship; a changed one changes what a run means."""
  shape = (8, 8, 1)
  params = 64 * 4 + 4 + 4 * 5 + 5
  trunk = params * 16 + 16 + 16 * 16 + 16
  golden = {
    "mlp": trunk + 16 * 64 + 64,
    "bilinear": trunk + (16 * 4 + 4) + (16 * 64 + 64) + 64 * 4,
    "gram": 64 * 3 + 64 * 4  # basis and scales
    + (4 * 3 + 16 + 4 + 25 + 1) * 16 + 16 + 16 * 16 + 16  # trunk
    + (16 * 4 + 4 + 16 * 64 + 64)  # first pass, and what the second looks at
    + (64 * 2 + 2) + (16 * 8 + 8) + (4 + 2 + 8) * 8 + 8 + (8 * 8 + 8)
    + (8 * 4 + 4 + 8 * 64 + 64),
    "conv": (4 + 32 + 5 + 20) * 16 + 4 * 16  # encoders, the kernel sketched
    + 16 * 16 + 16
    + (16 + 4 + 16) * 128 + 128  # hints: trunk, bias, 4 by 4 products
    + 128 * 4 * 4 + 4 * 4 + 64 * 4  # 4 heads' errors of 4 units, and scales
    + (16 * 128 + 128)  # a seed of 4x4 with 8 channels
    + (9 * 8 * 8 + 8) + 2 * (16 + 9 * 8 * 8 + 8)
    + (9 * (8 + 8) * 4 + 4) + 2 * (8 + 9 * 4 * 4 + 4)  # the heads' maps join
    + 8 + 9 * 4 + 1,
  }  # fmt: skip
  for name, expected in golden.items():
    init = functools.partial(_network(name, shape).init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), _theta(shape))
    assert _size(variables) == expected, name


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_lists_the_known(name):
  message = f"'{name}' has no option 'widht'; known: "
  with pytest.raises(UserError, match=message) as error:
    _network(name, (8, 8, 1), widht=3)
  known = str(error.value).split("known: ")[1].split(", ")
  assert not {"layout", "record_shape", "parent"} & set(known)


def _formula(name, shape):
  """A network with a dense layer of 4 units to read: what it draws of three
  models, their parameters, its own, and dense layers in NumPy."""
  network, theta = _network(name, shape, depth=1), _theta(shape)
  params = network.init(jax.random.key(0), theta, train=False)["params"]
  # Nothing may vanish by its initial value: all leaves at random.
  rng = np.random.default_rng(2)
  params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape), params)

  def dense(layer, x):
    return x @ params[layer]["kernel"] + params[layer]["bias"]

  draw = functools.partial(network.apply, dict(params=params), train=False)
  return draw, theta, params, dense


def _gelu(x):
  return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _sigmoid(x):
  return 1 / (1 + np.exp(-x))


def _kernel(shape):
  layout = models.build("mlp", 5, shape, TINY_MLP).layout
  return next(leaf for leaf in layout if leaf.name == "Dense_0/kernel")


def test_bilinear_equals_its_formula():
  shape, hidden = (4, 4, 1), 4
  draw, theta, params, dense = _formula("bilinear", shape)
  x, kernel = _gelu(dense("Dense_0", theta)), _kernel(shape)
  errors, free = dense("errors", x), dense("free", x)
  logits = np.zeros((len(theta), 16))
  for b in range(len(theta)):
    for p in range(16):
      logits[b, p] = free[b, p]
      for h in range(hidden):
        weight = theta[b, kernel.start + p * hidden + h]
        logits[b, p] += params["scale"][p, h] * weight * errors[b, h]
  expected = _sigmoid(logits).reshape(-1, *shape)
  np.testing.assert_allclose(draw(theta), expected, atol=1e-5)


def test_gram_equals_its_formula():
  shape, units = (4, 4, 1), 4
  draw, theta, params, dense = _formula("gram", shape)
  leaf = _kernel(shape)
  place = slice(leaf.start, leaf.start + leaf.size)
  for image, row in zip(draw(theta), theta):
    size = np.sqrt((row**2).mean())
    kernel = (row / size)[place].reshape(16, units)
    x = np.concatenate(
      [
        (kernel.T @ params["basis"]).ravel(),
        (kernel.T @ kernel / 16).ravel(),
        np.delete(row / size, place),
        [np.log(size)],
      ]
    )
    x, kernel = _gelu(dense("Dense_0", x)), kernel * params["scale"].T
    logits = kernel @ dense("errors_0", x) + dense("free_0", x)
    drawing = _sigmoid(logits)
    x = np.concatenate(
      [kernel.T @ drawing, dense("Dense_1", drawing), dense("Dense_2", x)]
    )
    x = _gelu(dense("Dense_4", _gelu(dense("Dense_3", x))))
    logits += kernel @ dense("errors_1", x) + dense("free_1", x)
    np.testing.assert_allclose(image.ravel(), _sigmoid(logits), atol=1e-4)
  # The mean model, all of whose standardised parameters are 0, has an answer.
  assert np.isfinite(draw(0 * theta)).all()


@pytest.mark.parametrize("name", ["bilinear", "gram"])
def test_these_refuse_a_model_without_a_dense_first_layer(name):
  layout = (
    Leaf("Conv_0/kernel", (3, 3, 1, 4), 0),
    Leaf("Dense_0/kernel", (64, 5), 36),  # by chance as many as the pixels
  )
  options = registry.find("attacks.reconstructor.networks", name).TINY
  with pytest.raises(UserError, match="fully connected on 64 inputs"):
    networks.build(name, layout, (8, 8, 1), options)
  # The one that needs no structure takes it.
  networks.build("mlp", layout, (8, 8, 1), TINY_MLP)


IMAGES = [
  ("convnet", dict(widths=(4, 8)), (28, 28, 1), (7, 7, 8)),
  ("convnet", dict(widths=(12, 48), pooling="stride"), (32, 32, 3), (8, 8, 48)),
  ("convnet", dict(widths=(4, 4, 6)), (20, 28, 3), (2, 3, 6)),
  ("convnet", dict(widths=(4, 4, 6)), (16, 32, 3), (2, 4, 6)),
  ("resnet", dict(widths=(4, 8), groups=2), (32, 32, 3), (1, 1, 8)),
  ("mlp", dict(width=3), (28, 28, 1), (28, 28, 1)),
]


@pytest.mark.parametrize("model, options, shape, seen", IMAGES)
def test_conv_finds_the_map_that_a_dense_layer_saw(model, options, shape, seen):
  layout = models.build(model, 5, shape, options).layout
  found = conv._readable(layout, shape, layout)
  assert found[0].name == "Dense_0/kernel" and found[1] == seen
  network = networks.build("conv", layout, shape, conv.TINY)
  theta = np.zeros((2, sum(leaf.size for leaf in layout)))
  drawn = jax.eval_shape(
    lambda k: network.init_with_output(k, theta, train=False)[0],
    jax.random.key(0),
  )
  assert drawn.shape == (2, *shape)


def test_conv_reads_a_feature_map_off_its_outer_product():
  """Where the kernel's part is f aᵀ, every head is f times a number, and the
  same again of mean square 1."""
  rng = np.random.default_rng(0)
  f, a = rng.normal(size=(2, 12)), rng.normal(size=(2, 5))
  kernel, hints = np.einsum("bf,bk->bfk", f, a), rng.normal(size=(2, 3))
  read = conv.ReadOut(heads=2, sketch=0, activation=jnp.tanh)
  params = read.init(jax.random.key(0), kernel, hints)["params"]
  found = read.apply(dict(params=params), kernel, hints)

  def dense(name, x):
    return x @ params[name]["kernel"] + params[name]["bias"]

  gram = np.einsum("b,bk,bl->bkl", (f**2).mean(1), a, a).reshape(2, 25)
  hidden = np.tanh(dense("hidden", np.concatenate([hints, gram], 1)))
  errors = dense("errors", hidden).reshape(2, 2, 5)
  factor = np.einsum("bk,brk->br", a, errors)[:, None]
  expected = conv.SCALE_INIT * f[:, :, None] * factor
  np.testing.assert_allclose(found[..., :2], expected, rtol=1e-3, atol=1e-5)
  size = np.sqrt((expected**2).mean(1, keepdims=True) + conv.EPS)
  np.testing.assert_allclose(found[..., 2:], expected / size, atol=1e-3)
  # The learned scales belong to the kernel's entries.
  params["scale"] = params["scale"].at[3].set(0)
  found = read.apply(dict(params=params), kernel, hints)
  assert (found[:, 3] == 0).all() and (found[:, 4] != 0).all()


def test_conv_draws_with_the_map_it_read():
  """Kernel entries reach the image beside the trunk: with a trunk that says
  the same for all, the read-out alone tells two models apart."""
  shape = (16, 16, 3)
  layout = models.build("convnet", 5, shape, dict(widths=(4, 8))).layout
  network = networks.build("conv", layout, shape, conv.TINY)
  size = sum(leaf.size for leaf in layout)
  theta = np.random.default_rng(0).normal(size=(2, size))
  init = jax.jit(network.init, static_argnames="train")
  apply = jax.jit(network.apply, static_argnames="train")
  params = init(jax.random.key(0), theta, train=False)["params"]
  for i in range(len(layout)):  # the encoders
    params[f"Dense_{i}"]["kernel"] = 0 * params[f"Dense_{i}"]["kernel"]
  images = apply(dict(params=params), theta, train=False)
  assert not np.allclose(images[0], images[1], atol=1e-3)
  params["read_out"]["scale"] = 0 * params["read_out"]["scale"]
  images = apply(dict(params=params), theta, train=False)
  np.testing.assert_allclose(images[0], images[1], atol=1e-6)


def test_conv_reads_the_layers_it_is_given():
  shape = (8, 8, 1)
  layout = models.build("mlp", 5, shape, TINY_MLP).layout
  theta = _theta(shape)
  network = _network("conv", shape, layers="Dense_0|Dense_1/b")
  variables = network.init(jax.random.key(0), theta, train=False)
  images = network.apply(variables, theta, train=False)
  for leaf in layout:
    moved = theta.copy()
    moved[:, leaf.start : leaf.start + leaf.size] += 1
    same = np.array_equal(network.apply(variables, moved, train=False), images)
    assert same == (leaf.name == "Dense_1/kernel")
  with pytest.raises(UserError, match="matches 'Conv'; known: Dense_0/bias, "):
    _network("conv", shape, layers="Conv")


def test_the_sketch_keeps_inner_products_on_average():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 1000)) + 1
  exact, norm = x[0] @ x[1], np.linalg.norm(x[0]) * np.linalg.norm(x[1])
  sketches = [conv._sketched(f"leaf {i}", x, 150) for i in range(100)]
  products = np.array([s[0] @ s[1] for s in sketches]) * 7  # 1000 / 150 -> 7
  assert sketches[0].shape == (2, 150)
  error = products.std() / math.sqrt(len(products))
  assert abs(products.mean() - exact) < 4 * error
  assert products.std() < 2 * norm / math.sqrt(150)  # Johnson, Lindenstrauss
  np.testing.assert_array_equal(conv._sketched("leaf 0", x, 150), sketches[0])
  np.testing.assert_allclose(  # linear
    conv._sketched("leaf 0", x[:1] + x[1:], 150)[0], sketches[0].sum(0),
    atol=1e-4,
  )  # fmt: skip
  assert conv._sketched("leaf", x, 1000) is x is conv._sketched("leaf", x, 0)


@pytest.mark.parametrize(
  "shape, options", [((64,), {}), ((8, 8, 1), dict(channels=6))]
)
def test_what_conv_cannot_draw_is_said(shape, options):
  layout = models.build("mlp", 5, shape, TINY_MLP).layout
  with pytest.raises(UserError, match="conv draws images"):
    networks.build("conv", layout, shape, conv.TINY | options)
