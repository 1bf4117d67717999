"""Optimisers and schedules by name."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon.training import optimizers
from informed_recon.types import UserError


@pytest.mark.parametrize("name", optimizers.names())
def test_every_listed_optimizer_descends_with_a_traced_rate(name):
  """What is offered can be used: a step on a quadratic lowers it."""
  params = dict(w=jnp.full((3, 2), 2.0), b=jnp.full((2,), -1.0))

  def loss(p):
    return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(p))

  def descend(rate):
    optimizer = optimizers.make(name, rate, {})

    def step(carry, _):
      p, state = carry
      updates, state = optimizer.update(jax.grad(loss)(p), state, p)
      return (optax.apply_updates(p, updates), state), None

    carry = (params, optimizer.init(params))
    return jax.lax.scan(step, carry, length=5)[0][0]

  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # noisy_sgd warns about its default key
    after = jax.jit(descend)(1e-3)
  assert float(loss(after)) < float(loss(params))


def test_the_usual_names_are_listed():
  assert {"sgd", "adam", "adamw", "rmsprop", "lion"} <= set(optimizers.names())


def test_options_reach_the_optimizer():
  params = jnp.ones(3)
  plain = optimizers.make("sgd", 0.1, {})
  heavy = optimizers.make("sgd", 0.1, dict(momentum=0.9))
  for optimizer, second in ((plain, -0.1), (heavy, -0.19)):
    state = optimizer.init(params)
    for _ in range(2):
      updates, state = optimizer.update(params, state, params)
    np.testing.assert_allclose(updates, second, rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
@pytest.mark.parametrize("name", ["constant", "cosine", "warmup_cosine"])
def test_schedules(name, steps):
  """The rate of each step, read off plain SGD on a gradient of one."""
  optimizer = optimizers.make("sgd", 2.0, {}, schedule=name, steps=steps)
  state, rates = optimizer.init(jnp.ones(())), []
  for _ in range(steps):
    update, state = optimizer.update(jnp.ones(()), state)
    rates.append(-float(update))
  at = np.arange(steps)
  warm = max(steps // 20, 1)
  down = np.clip((at - warm) / (max(steps, 2) - warm), 0, 1)
  expected = dict(
    constant=np.full(steps, 2.0),
    cosine=1 + np.cos(np.pi * at / steps),
    warmup_cosine=np.where(
      at < warm, 2.0 * at / warm, 1 + np.cos(np.pi * down)
    ),
  )
  np.testing.assert_allclose(rates, expected[name], atol=1e-6)


@pytest.mark.parametrize("name", ["nonsense", "chain", "_src", "lbfgs", ""])
def test_an_unknown_optimizer_lists_the_known(name):
  with pytest.raises(UserError, match="unknown optimizer .*known: .*adam.*sgd"):
    optimizers.make(name, 0.1, {})


@pytest.mark.parametrize("option", ["momentun", "learning_rate"])
def test_an_unknown_option_lists_the_known(option):
  message = f"'sgd' has no option '{option}'; known: momentum, nesterov"
  with pytest.raises(UserError, match=message):
    optimizers.make("sgd", 0.1, {option: 0.9})


def test_an_unknown_schedule_lists_the_known():
  message = "unknown schedule 'step'; known: constant, cosine, warmup_cosine"
  with pytest.raises(UserError, match=message):
    optimizers.make("sgd", 0.1, {}, schedule="step")


def _probe(name, options):
  """Traits found by twenty steps on a few numbers."""
  optimizer = optimizers.make(name, 0.1, options)
  paths = np.random.default_rng(0).normal(size=(2, 21, 3, 2))
  paths = paths.astype(np.float32)

  @jax.jit
  def end(start, gradients):
    """Where a start and twenty gradients lead."""

    def step(carry, gradient):
      params, state = carry
      updates, state = optimizer.update(gradient, state, params)
      return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (start, optimizer.init(start)), gradients)[0][0]

  def whole(path):
    return np.asarray(end(path[0], path[1:]))

  def columns(path):
    """The same, each column a parameter array of its own."""
    split = [path[..., i] for i in range(2)]
    ends = end([a[0] for a in split], [a[1:] for a in split])
    return np.stack(ends, axis=1)

  one, other = map(whole, paths)
  near = dict(rtol=1e-4, atol=1e-5)
  elementwise = np.allclose(columns(paths[0]), one, **near)
  superposed = np.allclose(one + other, whole(sum(paths)), **near)
  return elementwise, elementwise and superposed


@pytest.mark.parametrize("name", optimizers.names())
def test_traits_are_what_optimizers_do(name):
  """Both ways: what is claimed is true, and nothing true is left unused."""
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert _probe(name, {}) == optimizers.traits(name, {})


@pytest.mark.parametrize(
  "options, linear",
  [
    (dict(momentum=0.9, nesterov=True), True),
    (dict(momentum=0.9, accumulator_dtype="bfloat16"), False),
  ],
)
def test_an_accumulator_that_rounds_is_not_linear(options, linear):
  assert optimizers.traits("sgd", options) == (True, linear)
  assert _probe("sgd", options)[1] == linear
