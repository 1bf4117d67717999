"""The fast way of training ends where the plain one does.

The yardstick is what an attack reads: RMS(θ_i - θ_base), of which a fast path
may miss a thousandth.
"""

import dataclasses

import jax
import numpy as np
import pytest

from informed_recon import models, prng, tree
from informed_recon.data import mnist_sample
from informed_recon.training import ensemble, fast, loop, recipe
from informed_recon.training.fast import (
  first_layer,
  full_batch,
  relative_to_base,
)
from informed_recon.training.mechanisms import none
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records, UserError

ROOT = prng.root(0)
MOMENTUM = dict(optimizer_options=dict(momentum=0.9, nesterov=True))


@pytest.fixture(scope="module")
def digits():
  data = mnist_sample.load({})
  order = np.random.default_rng(0).permutation(len(data.records.y))
  return Records(*(a[order] for a in data.records))


def _ways(monkeypatch, digits, n, spec, options, lit=True, hparams=None):
  """Base model, and six models trained in the plain and in the fast way."""
  fixed = Records(*(a[:n] for a in digits))
  targets = Records(*(a[-6:] for a in digits))
  shape = digits.x.shape[1:]
  model = models.build("mlp", 10, shape, options)
  hparams = hparams or HParams(0.1, 1e-3)
  mask = np.any(fixed.x, axis=0) if lit else None

  def rows(train):
    many = ensemble.make_ensemble(train, ensemble.Threat())
    ids = np.arange(6, dtype=np.int32)
    return np.asarray(many(ROOT, fixed, targets, ids, hparams))

  faster = rows(loop.make_train(model, spec, lit=mask))
  spec = dataclasses.replace(spec, products="float32")
  plain = loop.make_train(model, spec, gradient=none.make(model, spec))
  base = ensemble.train_base(plain, ROOT, fixed, hparams)
  return base, rows(plain), faster


def _missed(base, plain, faster):
  return np.sqrt(np.mean((faster - plain) ** 2) / np.mean((plain - base) ** 2))


@pytest.mark.parametrize(
  "n, spec, options, form",
  [
    (200, Recipe(50, **MOMENTUM), dict(width=10), "Span"),
    pytest.param(
      *(200, Recipe(50, schedule="cosine"), dict(width=8, depth=2), "Span"),
      marks=pytest.mark.slow,
    ),
    (200, Recipe(20, optimizer="adam"), dict(width=10), "Dense"),
    (1500, Recipe(20, **MOMENTUM), dict(width=5), "Dense"),
  ],
)
def test_real_digits_end_at_the_plain_parameters(
  monkeypatch, digits, n, spec, options, form
):
  used = []
  for name in ("Span", "Dense"):
    kind = getattr(first_layer, name)
    enter = kind.enter
    monkeypatch.setattr(
      kind,
      "enter",
      lambda *args, e=enter, name=name: used.append(name) or e(*args),
    )
  ways = _ways(monkeypatch, digits, n, spec, options)
  assert set(used) == {form}  # the cheaper one
  assert _missed(*ways) < 1e-3


@pytest.mark.parametrize(
  "n, steps, options",
  [
    (200, 50, dict(width=10)),
    pytest.param(1500, 20, dict(width=5), marks=pytest.mark.slow),
  ],
)
def test_differences_bear_shorter_numbers(
  monkeypatch, digits, n, steps, options
):
  """And parameters do not: the error is of the difference alone."""

  def missed(number):
    spec = Recipe(steps, products=number, **MOMENTUM)
    return _missed(*_ways(monkeypatch, digits, n, spec, options))

  found = {number: missed(number) for number in recipe.PRODUCTS}
  assert found["tensorfloat32"] < 1e-3 and found["bfloat16"] < 0.005
  # Rounded they are: three bits make a factor of eight, near enough.
  assert 4 < found["bfloat16"] / found["tensorfloat32"] < 16

  class Whole(full_batch.FullBatch):
    """Rounds the factors of the parameters themselves."""

    def enter(self, *args):
      trained, given = super().enter(*args)
      rounded = first_layer.lowered(given.layer, "bfloat16")
      return trained, given._replace(layer=rounded)

  monkeypatch.setattr(
    relative_to_base,
    "RelativeToBase",
    lambda plain, number: Whole(**vars(plain)),
  )
  short = first_layer.shared_product
  monkeypatch.setattr(
    first_layer,
    "shared_product",
    lambda one, shared, _: short(one, shared, str(shared.dtype)),
  )
  assert missed("bfloat16") > 10 * found["bfloat16"]


@pytest.mark.parametrize(
  "n", [50, pytest.param(1500, marks=pytest.mark.slow)]
)  # in the span, and dense
def test_the_base_run_is_one_for_all_models(digits, n):
  """What has no axis of models is computed once: vmap refuses to say so of
  anything else."""
  fixed = Records(*(a[:n] for a in digits))
  targets = Records(*(a[-2:] for a in digits))
  model = models.build("mlp", 10, digits.x.shape[1:], dict(width=6))
  program = fast.program(model, Recipe(5, products="bfloat16"), n)
  params = model.init(ROOT)

  def one(target):
    trained, given = program.enter(params, fixed, target)
    return trained, program.gradient(trained, given, HParams(0.1, 1e-3))

  axes = relative_to_base.Trained(None, 0)
  trained, grads = jax.vmap(one, out_axes=(axes, axes))(targets)
  assert np.any(tree.flatten(grads[0])) and np.any(tree.flatten(grads[1]))


def test_a_secret_initialisation(monkeypatch, digits):
  """W₀ differs between models, and so do its products with the data."""
  fixed = Records(*(a[:100] for a in digits))
  targets = Records(*(a[-3:] for a in digits))
  model = models.build("mlp", 10, digits.x.shape[1:], dict(width=6))
  ids, threat = np.arange(3, dtype=np.int32), ensemble.Threat(False, True)
  train = loop.make_train(model, Recipe(20))
  rows = ensemble.make_ensemble(train, threat)(
    ROOT, fixed, targets, ids, HParams(0.1)
  )
  train = loop.make_train(
    model, Recipe(20), gradient=none.make(model, Recipe(20))
  )
  for i, row in enumerate(rows):
    keys = ensemble.model_keys(ROOT, threat, i)
    one = train(keys, fixed, Records(*(t[i] for t in targets)), HParams(0.1))
    np.testing.assert_allclose(row, tree.flatten(one), atol=2e-6)


def test_dark_inputs_leave_the_products(monkeypatch, digits):
  """And are moved by the target alone, whichever inputs it lights up."""
  dark = np.zeros(digits.x.shape[1:], bool)
  dark[:14] = True
  fixed = np.where(dark, 0, digits.x[:-6])
  shown = Records(np.concatenate([fixed, digits.x[-6:]]), digits.y)
  spec = Recipe(20, optimizer="adam")
  base, plain, faster = _ways(monkeypatch, shown, 300, spec, dict(width=5))
  assert _missed(base, plain, faster) < 1e-3
  model = models.build("mlp", 10, dark.shape, dict(width=5))
  kernel = next(leaf for leaf in model.layout if len(leaf.shape) == 2)
  rows = slice(kernel.start, kernel.start + kernel.size)
  upper = faster[:, rows].reshape(6, *kernel.shape)[:, dark.ravel()]
  start = tree.flatten(model.init(prng.stream(ROOT, "init")))[rows]
  start = np.reshape(start, kernel.shape)[dark.ravel()]
  assert np.abs(upper - start).max() > 0.01


def test_the_compiled_program_multiplies_lit_inputs_only(digits):
  """No matrix of all inputs by all records is left in the loop."""
  n = 1501  # no other size of the program
  fixed = Records(*(a[:n] for a in digits))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", 10, lit.shape, dict(width=5))
  cost = {}
  for mask in (None, lit):
    program = fast.program(model, Recipe(3), n, mask)
    params = jax.eval_shape(model.init, ROOT)
    target = Records(digits.x[-1], digits.y[-1])
    held, given = jax.eval_shape(program.enter, params, fixed, target)
    step = jax.jit(lambda h, g, p=program: p.gradient(h, g, HParams(0.1)))
    analysis = step.lower(held, given).compile().cost_analysis()
    cost[mask is None] = analysis["flops"]
  saved = 4 * n * (~lit).sum() * 5
  assert cost[True] - cost[False] > 0.9 * saved


@pytest.mark.parametrize(
  "spec, name",
  [
    (Recipe(batch_size=4), "mlp"),
    (Recipe(optimizer="adafactor"), "mlp"),
    (Recipe(optimizer="noisy_sgd"), "mlp"),
    (Recipe(mechanism="dp_sgd"), "mlp"),
  ],
)
def test_everything_else_trains_as_it_is_written(spec, name):
  model = models.build(name, 3, (4, 4, 1), dict(width=4))
  assert fast.program(model, spec, 10) is None


@pytest.mark.parametrize(
  "spec",
  [
    Recipe(products="float16"),
    Recipe(products="bfloat16", batch_size=4),
    Recipe(products="bfloat16", optimizer="adam"),
    Recipe(products="bfloat16", mechanism="dp_sgd"),
  ],
)
def test_products_that_cannot_be_had_are_refused(spec):
  model = models.build("mlp", 3, (4, 4, 1), dict(width=4))
  with pytest.raises(UserError, match="training.products"):
    loop.make_train(model, spec)
