"""Further terms of the reconstructor's loss, averages, half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import prng
from informed_recon.attacks import reconstructor
from informed_recon.attacks.reconstructor import Fit, networks, step
from informed_recon.attacks.reconstructor.standardisation import Standard
from informed_recon.storage.store import Rows
from informed_recon.tree import Leaf
from informed_recon.types import UserError

SHAPE, PARAMS = (8, 8, 1), 20
KEY = prng.stream(prng.root(0), "step test")
SPEC = dict(
  optimizer="adam",
  learning_rate=3e-3,
  epochs=3,
  batch_size=8,
  holdout=0.2,
  patience=0,
)
ALL = dict(perceptual_weight=0.5, adversarial_weight=0.1, ema=0.9)
STANDARD = Standard(np.zeros(PARAMS, np.float32), np.ones(PARAMS, np.float32))


@jax.tree_util.Partial
def edges(a, b):
  """A distance that sees horizontal steps alone."""
  step = (a - b)[:, :, 1:] - (a - b)[:, :, :-1]
  return jnp.mean(step**2, (1, 2, 3))


@pytest.fixture(scope="module")
def network():
  layout = (Leaf("Dense_0/kernel", (4, 5), 0),)
  options = dict(width=16, depth=1, dropout=0.2)
  return networks.build("mlp", layout, SHAPE, options)


@pytest.fixture(scope="module")
def shadows():
  rng = np.random.default_rng(0)
  records = rng.uniform(size=(40, *SHAPE)).astype(np.float32)
  theta = records.reshape(40, 64) @ rng.normal(size=(64, PARAMS))
  return Rows((theta.astype(np.float32),), 40), records


def _steps(network, optimizer=None, **more):
  spec = Fit(**SPEC | more)
  optimizer = optimizer or optax.sgd(0.1)
  return step.make(network, spec, optimizer, PARAMS, KEY)


def _batch(shadows):
  return shadows[0].all()[:8], shadows[1][:8]


def test_the_loss_is_the_weighted_sum_of_its_terms(network, shadows):
  def loss(**weights):
    steps = _steps(network, **weights)
    return float(
      steps.summed_loss(steps.start().params, STANDARD, edges, *_batch(shadows))
    )

  none = dict(mae_weight=0.0, mse_weight=0.0)
  mae, mse, perceptual = (
    loss(**none | {f"{name}_weight": 1.0})
    for name in ("mae", "mse", "perceptual")
  )
  weights = dict(mae_weight=2.0, mse_weight=3.0, perceptual_weight=4.0)
  assert loss(**weights) == pytest.approx(
    2 * mae + 3 * mse + 4 * perceptual, rel=1e-5
  )
  # The discriminator is no part of the loss that early stopping sees.
  assert loss(**weights, adversarial_weight=5.0) == loss(**weights)


def test_the_network_descends_what_its_terms_say(network, shadows):
  """One step of plain gradient descent with every term, and by hand."""
  weights = dict(perceptual_weight=0.5, adversarial_weight=0.1)
  steps, batch = _steps(network, **weights), _batch(shadows)
  learner = steps.start()
  params, (critic, _) = learner.params, learner.critic
  critic_network = step.discriminator.Network()
  rngs = dict(dropout=jax.random.fold_in(prng.stream(KEY, "dropout"), 7))

  def drawn(params):
    return network.apply(params, batch[0], train=True, rngs=rngs)

  def loss(params):
    error = drawn(params) - batch[1]
    score = critic_network.apply(critic, drawn(params))
    return (
      jnp.mean(jnp.abs(error))
      + jnp.mean(error**2)
      + 0.5 * jnp.mean(edges(drawn(params), batch[1]))
      + 0.1 * 0.5 * jnp.mean((score - 1) ** 2)
    )

  def critic_loss(critic):
    real = critic_network.apply(critic, batch[1])
    fake = critic_network.apply(critic, drawn(params))
    return 0.5 * (jnp.mean((real - 1) ** 2) + jnp.mean(fake**2))

  expected = [
    jax.tree.map(lambda p, g: p - 0.1 * g, p, jax.grad(f)(p))
    for f, p in ((loss, params), (critic_loss, critic))
  ]
  after, value = steps.step(learner, STANDARD, edges, *batch, 7)
  for tree, wanted in zip((after.params, after.critic[0]), expected):
    for leaf, other in zip(*map(jax.tree.leaves, (tree, wanted))):
      np.testing.assert_allclose(leaf, other, rtol=1e-4, atol=1e-6)


def test_terms_of_no_weight_leave_no_trace(network, shadows):
  plain, batch = _steps(network), _batch(shadows)
  learner = plain.start()
  assert learner.ema is None and learner.critic is None
  text = str(plain.step.trace(learner, STANDARD, None, *batch, 0).jaxpr)
  assert "conv_general" not in text
  full = _steps(network, **ALL)
  text = str(full.step.trace(full.start(), STANDARD, edges, *batch, 0).jaxpr)
  assert "conv_general" in text


def test_the_average_follows_the_parameters(network, shadows):
  steps, batch = _steps(network, ema=0.25), _batch(shadows)
  learner = steps.start()
  mean = np.asarray(jax.tree.leaves(learner.params)[1])
  for count in range(4):
    learner, _ = steps.step(learner, STANDARD, None, *batch, count)
    decay = min(0.25, (1 + count) / (10 + count))  # shorter at first
    new = np.asarray(jax.tree.leaves(learner.params)[1])
    mean = decay * mean + (1 - decay) * new
  np.testing.assert_allclose(
    jax.tree.leaves(learner.ema)[1], mean, rtol=1e-4, atol=1e-6
  )
  assert learner.answering is learner.ema


def test_half_precision_is_near(network, shadows):
  theta = shadows[0].all()
  full, half = _steps(network), _steps(network, dtype="bfloat16")
  params = full.start().params
  exact = full.predict(params, STANDARD, theta)
  rough = half.predict(params, STANDARD, theta)
  assert rough.dtype == jnp.float32
  error = np.abs(exact - rough).max()
  assert 0 < error < 0.05


class _Killed(Exception):
  pass


def test_with_everything_on_a_resumed_fit_is_bit_identical(
  network, shadows, tmp_path
):
  spec, theta = Fit(**SPEC | ALL), shadows[0].all()

  def fit(directory, log):
    return reconstructor.fit(
      *(network, spec, *shadows, KEY, tmp_path / directory),
      **dict(perceptual=edges, log=log, checkpoint_seconds=0),
    )(theta)

  rows, again = [], []
  straight = fit("straight", rows.append)

  def kill(row):
    again.append(row)
    if row["epoch"] == 2 and len(again) == 2:
      raise _Killed

  with pytest.raises(_Killed):
    fit("killed", kill)
  np.testing.assert_array_equal(fit("killed", kill), straight)
  assert [row["epoch"] for row in again] == [1, 2, 2, 3]
  assert again[2:] == rows[1:]
  assert np.isfinite(straight).all()


def test_adversarial_training_stays_finite(network, shadows, tmp_path):
  """The discriminator with all the weight, for many steps."""
  change = dict(mae_weight=0.1, mse_weight=0.0, adversarial_weight=1.0)
  spec = Fit(**SPEC | change | dict(epochs=40, learning_rate=1e-2))
  log = []
  attack = reconstructor.fit(
    *(network, spec, *shadows, KEY, tmp_path), log=log.append
  )
  assert len(log) == 40
  guess = attack(shadows[0].all())
  assert ((guess >= 0) & (guess <= 1)).all()


def test_a_fit_of_before_ends_where_it_ended(network, shadows, tmp_path):
  """Losses of the code before there were further terms."""
  log = []
  reconstructor.fit(
    *(network, Fit(**SPEC), *shadows, KEY, tmp_path), log=log.append
  )
  held = [row["held_loss"] for row in log]
  np.testing.assert_allclose(held, BEFORE, rtol=1e-4)


BEFORE = (0.3867863, 0.3821611, 0.3780381)


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(perceptual_weight=-1.0), "perceptual_weight must be at least 0"),
    (dict(adversarial_weight=-1.0), "adversarial_weight must be at least 0"),
    (dict(ema=1.0), "a decay below 1"),
    (dict(dtype="float16"), "dtype must be float32 or bfloat16"),
  ],
)
def test_settings_that_make_no_sense(change, message):
  with pytest.raises(UserError, match=message):
    reconstructor.check(Fit(**SPEC | change), 40)


def test_a_perceptual_loss_without_a_distance(network, shadows, tmp_path):
  spec = Fit(**SPEC | dict(perceptual_weight=1.0))
  with pytest.raises(UserError, match="needs a perceptual distance"):
    reconstructor.fit(network, spec, *shadows, KEY, tmp_path)
