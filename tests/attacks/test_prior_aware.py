"""The attack against NumPy, its own probabilities, the bound, and controls."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import models, prng, tree
from informed_recon.attacks import prior_aware
from informed_recon.dp import bounds, converse, monte_carlo, planner
from informed_recon.training import ensemble, loop, recipe
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records

M, KNOWN, STEPS, CLIP = 8, 20, 10, 0.1
TRIALS = 500  # one number, one compilation
UNIFORM = (1 / M,) * M
FAVOURITE = (0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05)


@pytest.fixture(scope="module")
def play():
  """(q, hparams, prior) -> truth, evidence, candidates and transcript of many
  runs, each asked for more than once but played once."""
  rng = np.random.default_rng(0)
  pool = Records(
    jnp.asarray(rng.uniform(size=(200, 8, 8, 1)), jnp.float32),
    jnp.asarray(rng.integers(10, size=200), jnp.int32),
  )
  fixed = Records(*(a[:KNOWN] for a in pool))
  model = models.build("mlp", 10, (8, 8, 1), dict(width=10))

  @functools.cache
  def make(q):
    spec = Recipe(steps=STEPS, mechanism="dp_sgd", sampling_probability=q)
    train = loop.make_train(model, spec, transcript=True)
    attack = prior_aware.make_attack(model, spec)

    def one(i, hparams, log_prior):
      key = jax.random.fold_in(prng.root(1), i)
      draw, which = jax.random.split(key)
      ids = KNOWN + jax.random.choice(draw, 200 - KNOWN, (M,), replace=False)
      candidates = Records(*(a[ids] for a in pool))
      truth = jax.random.categorical(which, log_prior)
      target = Records(*(a[truth] for a in candidates))
      keys = ensemble.model_keys(prng.root(2), ensemble.Threat(), i)
      params, transcript = train(keys, fixed, target, hparams)
      found = attack(keys, transcript, fixed, candidates, hparams, log_prior)
      return truth, found, candidates, transcript

    return jax.jit(jax.vmap(one, in_axes=(0, None, None)))

  @functools.cache
  def run(q, hparams, prior=UNIFORM):
    ids = jnp.arange(TRIALS, dtype=jnp.int32)
    return make(q)(ids, hparams, jnp.log(jnp.asarray(prior)))

  run.model, run.fixed = model, fixed
  return run


def _hparams(sigma, clip=CLIP):
  return HParams(2.0, 1e-3, clip, sigma)


def _noise(gamma, q=1.0):
  return planner.plan(gamma, q, STEPS, 1e-5, 1 / M).noise_multiplier


def _successes(truth, found):
  return int(np.sum(np.argmax(found.log_posterior, 1) == truth))


def test_full_batch_is_the_formula_in_numpy(play):
  """Score by score from per-record gradients, materialised one by one."""
  sigma = _noise(0.5)
  hparams = _hparams(sigma)
  _, found, candidates, transcript = jax.tree.map(
    lambda a: np.asarray(a[0]), play(1.0, hparams)
  )

  @jax.jit
  def each(params, records):
    def loss(p, x, y):
      return recipe.cross_entropy(play.model.apply(p, x[None]), y[None])[0]

    grads = jax.vmap(jax.grad(loss), (None, 0, 0))(params, *records)
    return jax.vmap(tree.flatten)(grads)

  def clipped(params, records):
    g = np.asarray(each(params, records), np.float64)
    return g * np.minimum(1, CLIP / np.linalg.norm(g, axis=1, keepdims=True))

  scores, gram = np.zeros(M), np.zeros((M, M))
  for t in range(STEPS):
    params, gradient = jax.tree.map(lambda a, t=t: a[t], tuple(transcript))
    shown = np.asarray(
      tree.flatten(optax.tree.sub(gradient, optax.tree.scale(1e-3, params)))
    )
    rest = (KNOWN + 1) * shown - clipped(params, play.fixed).sum(0)
    own = clipped(params, candidates)
    scores += own @ rest - 0.5 * np.sum(own**2, 1)
    gram += own @ own.T
  unit = (sigma * CLIP) ** 2
  got = found.log_posterior + math.log(M)
  np.testing.assert_allclose(got, scores / unit, atol=2e-4)
  np.testing.assert_allclose(found.gram, gram / unit, rtol=1e-4)


@pytest.mark.parametrize(
  "prior, q",
  [
    (FAVOURITE, 0.3),
    *(
      pytest.param(*one, marks=pytest.mark.slow)
      for one in ((UNIFORM, 1.0), (UNIFORM, 0.3), (FAVOURITE, 1.0))
    ),
  ],
)
def test_its_probabilities_are_true(play, q, prior):
  """A posterior is right as often as it says, the most it can be: a wrong
  likelihood, noise scale or prior would show in one or the other."""
  truth, found, *_ = play(q, _hparams(_noise(0.5, q)), prior)
  posterior = np.asarray(jax.nn.softmax(found.log_posterior, axis=1), float)
  right = np.argmax(posterior, 1) == truth
  excess = right - posterior.max(1)
  assert abs(excess.mean()) < 3.5 * excess.std() / math.sqrt(TRIALS)
  assert right.mean() > max(prior) + 0.1

  # And with what probability it says so of the truth: a proper score, which
  # any other belief loses by.
  def score(log_posterior):
    said = jax.nn.log_softmax(log_posterior, axis=1)
    return np.take_along_axis(np.asarray(said), truth[:, None], 1)

  blurred = score(found.log_posterior) - score(0.5 * found.log_posterior)
  assert blurred.mean() > 2 * blurred.std() / math.sqrt(TRIALS)


@pytest.mark.parametrize("q", [1.0, 0.3])
@pytest.mark.parametrize("gamma", [0.3, 0.5])
def test_success_keeps_the_bound_and_comes_near_it(play, q, gamma):
  sigma = _noise(gamma, q)
  truth, found, *_ = play(q, _hparams(sigma))
  successes = _successes(truth, found)
  upper = bounds.dpsgd_upper(1 / M, sigma, q, STEPS)
  assert upper == pytest.approx(gamma, rel=1e-3)
  assert not converse.refuted(successes, TRIALS, upper)
  assert successes / TRIALS > gamma - 0.2
  if q == 1:
    best = monte_carlo.identification_estimate(found.gram, samples=200)
    error = math.sqrt(best.mean() * (1 - best.mean()) / TRIALS)
    assert successes / TRIALS == pytest.approx(best.mean(), abs=4 * error)


def test_control_half_of_the_claimed_noise_refutes_the_bound(play):
  truth, found, *_ = play(1.0, _hparams(_noise(0.5) / 2))
  assert converse.refuted(_successes(truth, found), TRIALS, 0.5)


def test_control_a_mechanism_that_does_not_clip_refutes_the_bound(play):
  """The claimed noise, but gradients as long as they are."""
  claimed, loose = _noise(0.5), 1e4
  hparams = _hparams(claimed * CLIP / loose, clip=loose)
  truth, found, *_ = play(1.0, hparams)
  assert np.mean(np.diagonal(found.gram, axis1=1, axis2=2)) > 10 * (
    STEPS / claimed**2
  )
  assert converse.refuted(_successes(truth, found), TRIALS, 0.5)


def test_without_information_the_prior_decides(play):
  truth, found, *_ = play(1.0, _hparams(1e4), FAVOURITE)
  assert np.all(np.argmax(found.log_posterior, 1) == 0)
  np.testing.assert_allclose(
    found.log_posterior, np.tile(np.log(FAVOURITE), (TRIALS, 1)), atol=0.02
  )
  assert np.mean(truth == 0) == pytest.approx(0.4, abs=0.1)
