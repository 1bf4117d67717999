"""Whether a released coordinate can prove that the target was there.

One step of `dp_sgd.make` at sigma = 0.5 and q = 1, on two classes and one pixel
without bias, where an event of probability 0 without the target must have at
most delta = 1e-5 with it, whatever epsilon is stated.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import random as prngs
from scipy import special, stats

from informed_recon import models
from informed_recon.dp import intervals
from informed_recon.training import noise
from informed_recon.training.mechanisms import dp_sgd
from informed_recon.training.recipe import HParams, Keys, Recipe
from informed_recon.types import Records

SIGMA, DELTA = 0.5, 1e-5
EXTREMES = jnp.array([0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], jnp.uint32)
OLD_REACH = (-5.41998, 5.22011)  # jax.random.normal in float32


@functools.cache
def _step():
  model = models.build("linear", 2, (1,), dict(use_bias=False))
  gradient = dp_sgd.make(model, Recipe(1))
  fixed = Records(np.zeros((1, 1), np.float32), np.zeros(1, np.int32))
  target = Records(np.ones(1, np.float32), np.int32(0))
  hparams = HParams(0.1, 0.0, 1e-3, SIGMA)
  params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))

  def step(key, present):
    """The two released coordinates, in deviations of the noise."""
    keys = Keys(key, key, key, key)
    shown = gradient(
      keys, 0, params, fixed, target if present else None, hparams
    )
    (kernel,) = jax.tree.leaves(shown)
    return kernel.ravel() * 2 / (SIGMA * hparams.clip_norm)

  return jax.jit(jax.vmap(step, in_axes=(0, None)), static_argnums=1)


def _extreme_noise():
  """What the noise can come to: bits that are nearly all 0 or nearly all 1."""
  real = prngs.threefry_prng_impl

  def random_bits(key, width, shape):
    return EXTREMES[real.random_bits(key, width, shape) % len(EXTREMES)]

  biased = prngs.define_prng_impl(
    key_shape=real.key_shape,
    seed=real.seed,
    split=real.split,
    random_bits=random_bits,
    fold_in=real.fold_in,
    name="extremes",
    tag="extremes",
  )
  keys = jax.random.split(jax.random.key(0, impl=biased), 5_000)
  return np.asarray(_step()(keys, False))


def _counts(windows, runs, present, block=500_000):
  """For each window, runs in which some coordinate lies outside of it."""
  low, high = jnp.array(windows).T
  step = _step()  # built before it is traced

  @jax.jit
  def outside(key):
    shown = step(jax.random.split(key, block), present)[..., None]
    return jnp.sum(jnp.any((shown < low) | (shown > high), axis=1), axis=0)

  keys = jax.random.split(jax.random.key(int(present)), runs // block)
  return np.sum([np.asarray(outside(key)) for key in keys], axis=0)


def test_the_noise_reaches_beyond_ten_deviations():
  found = _extreme_noise()
  assert found.min() < -10 and found.max() > 10
  assert np.isfinite(found).all()


def test_no_event_of_probability_zero_gives_the_target_away():
  """Bounded noise does: at least 8.2e-5 (99%) where 1e-5 is stated."""
  found = _extreme_noise()
  runs = 2_000_000
  windows = [(found.min(), found.max()), OLD_REACH]
  never, old = (
    intervals.clopper_pearson_lower(int(hits), runs, 0.99)
    for hits in _counts(windows, runs, True)
  )
  assert never <= DELTA
  assert old > 4 * DELTA  # what jax.random.normal would never show


def test_draws_are_the_inverse_of_the_distribution_function():
  draws = np.sort(np.asarray(noise.gaussian(jax.random.key(3), (400_000,))))
  assert stats.kstest(draws, "norm").pvalue > 1e-3
  assert abs(np.mean(draws > 0) - 0.5) < 4e-3
  sizes = np.sum(draws**2)
  assert 1e-3 < stats.chi2.cdf(sizes, draws.size) < 1 - 1e-3
  assert not stats.kstest(1.01 * draws, "norm").pvalue > 1e-3
  assert (
    noise.gaussian(jax.random.key(3), (2,), jnp.bfloat16).dtype == "bfloat16"
  )


@pytest.mark.slow
def test_a_hundred_million_draws_have_the_right_tails():
  """Through the mechanism; none would lie outside the old reach."""
  runs = 50_000_000  # of two coordinates
  windows = [(-5.0, 5.0), OLD_REACH, (-5.7, 5.7)]
  for window, hits in zip(windows, _counts(windows, runs, False)):
    one = special.ndtr(window[0]) + special.ndtr(-window[1])
    expected = -math.expm1(2 * math.log1p(-one))
    assert stats.binomtest(int(hits), runs, expected).pvalue > 0.01
