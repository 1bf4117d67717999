"""DP-SGD adds what it says, to whom it says, and states what that is worth."""

import functools

import jax
import numpy as np
import pytest
from scipy import stats

from informed_recon import models, prng, tree
from informed_recon.training import ensemble, loop
from informed_recon.training.mechanisms import dp_sgd
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records, UserError

ROOT = prng.root(0)
SHAPE, CLASSES, N = (4, 4, 1), 3, 9
NO_CLIP = 1e6


@pytest.fixture(scope="module")
def mlp():
  return models.build("mlp", CLASSES, SHAPE, dict(width=5))


@pytest.fixture(scope="module")
def linear():
  return models.build("linear", CLASSES, (N + 1,), dict(use_bias=False))


def _problem(make_records):
  fixed, target = make_records(N), make_records(1, seed=1)
  return fixed, Records(*(a[0] for a in target))


@functools.cache
def _many(model, q):
  gradient = dp_sgd.make(model, Recipe(sampling_probability=q))

  @jax.jit
  def many(problem, hparams, ids, steps):
    def one(model_id, step):
      keys = ensemble.model_keys(ROOT, ensemble.Threat(), model_id)
      params = model.init(ROOT)
      return tree.flatten(gradient(keys, step, params, *problem, hparams))

    return jax.vmap(one)(ids, steps)

  return many


def _gradients(model, q, problem, hparams, models, steps):
  """(models steps, P) what each step shows each model, all at one θ."""
  at = np.arange(models * steps)
  return np.asarray(_many(model, q)(problem, hparams, at // steps, at % steps))


def _is_noise(errors, spread):
  """Whether errors (B, P) are independent draws from N(0, spread²)."""
  e = errors.ravel() / spread
  size = np.sum(e**2)  # chi-squared
  tail = 2 * min(stats.chi2.cdf(size, e.size), stats.chi2.sf(size, e.size))
  shape = stats.kstest(e[:20_000], "norm").pvalue
  mean = 2 * stats.norm.sf(abs(e.mean()) * np.sqrt(e.size))
  return min(tail, shape, mean) > 1e-4


def test_noise_has_the_stated_spread(mlp, make_records):
  """And the check is one that a wrong scale fails."""
  problem = _problem(make_records)
  clip_norm, sigma = 0.25, 3.0

  def errors(noise_multiplier, clip_norm=clip_norm):
    noisy, clean = (
      _gradients(mlp, 1.0, problem, HParams(0.1, 0.0, clip_norm, s), 20, 25)
      for s in (noise_multiplier, 0.0)
    )
    return (noisy - clean) * (N + 1)

  right = errors(sigma)
  assert _is_noise(right, sigma * clip_norm)
  assert not _is_noise(errors(1.03 * sigma), sigma * clip_norm)
  assert not _is_noise(errors(sigma, 0.97 * clip_norm), sigma * clip_norm)
  assert not _is_noise(right * clip_norm, sigma * clip_norm)
  # No model, step or coordinate repeats another's.
  grid = right.reshape(20, 25, -1)
  for one, other in (
    (grid[0], grid[1]),  # two models
    (grid[:, 0], grid[:, 1]),  # two steps
    (grid[..., 0], grid[..., 1]),  # two coordinates
  ):
    assert stats.pearsonr(one.ravel(), other.ravel()).pvalue > 1e-4


def _one_hot_problem():
  """Row i of a linear kernel's gradient is nonzero if record i takes part."""
  x, y = np.eye(N + 1, dtype=np.float32), np.zeros(N + 1, np.int32)
  return Records(x[:N], y[:N]), Records(x[N], y[N])


def test_every_record_is_drawn_by_itself_with_probability_q(linear):
  q, draws = 0.3, 4000
  hparams = HParams(0.1, 0.0, 1.0, 0.0)
  rows = _gradients(linear, q, _one_hot_problem(), hparams, 40, 100)
  shares = np.abs(rows.reshape(draws, N + 1, CLASSES)).sum(2)
  drawn = shares > 0
  # The divisor is public: whoever takes part weighs the same every time.
  np.testing.assert_allclose(shares, drawn * shares.max(0), rtol=1e-5)
  counts = drawn.sum(0)
  for count in counts:  # the target among them, in the last place
    assert stats.binomtest(int(count), draws, q).pvalue > 1e-4
  # Poisson sampling: batches vary, and records do not know of each other.
  size = np.bincount(drawn.sum(1), minlength=N + 2)
  expected = draws * stats.binom.pmf(np.arange(N + 2), N + 1, q)
  common = expected > 5
  assert (
    stats.chisquare(
      [*size[common], size[~common].sum()],
      [*expected[common], expected[~common].sum()],
    ).pvalue
    > 1e-4
  )
  steps, ids = drawn.reshape(40, 100, N + 1)[:2], drawn.reshape(40, 100, -1)
  assert (steps[0] != steps[1]).any() and (ids[:, 0] != ids[:, 1]).any()
  # The negative control: the check sees a probability 0.03 away.
  assert stats.binomtest(int(counts[0]), draws, q + 0.03).pvalue < 1e-3


@pytest.mark.parametrize("q", [1.0, 0.5])
def test_the_divisor_does_not_know_the_target(mlp, make_records, q):
  """Neighbours differ by the target's clipped gradient and nothing else."""
  fixed, target = _problem(make_records)
  clip_norm = 1e-3
  hparams = HParams(0.1, 0.0, clip_norm, 2.0)
  added, removed = (
    _gradients(mlp, q, (fixed, t), hparams, 50, 1) for t in (target, None)
  )
  sizes = np.linalg.norm(added - removed, axis=1) * q * (N + 1)
  # Clipped to C when drawn, else nothing.
  present = sizes > clip_norm / 2
  np.testing.assert_allclose(sizes[present], clip_norm, rtol=1e-3)
  np.testing.assert_allclose(sizes[~present], 0.0, atol=1e-6)
  assert present.all() if q == 1 else 10 < present.sum() < 40


def test_without_noise_clipping_and_sampling_it_is_full_batch(
  mlp, make_records
):
  fixed, target = _problem(make_records)
  hparams = HParams(0.3, 1e-2, NO_CLIP, 0.0)
  keys = ensemble.model_keys(ROOT, ensemble.Threat(), 0)
  private, plain = (
    jax.jit(loop.make_train(mlp, Recipe(10, mechanism=name)))
    for name in ("dp_sgd", "none")
  )
  args = keys, fixed, target, hparams
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6),
    private(*args),
    plain(*args),
  )
  # At sampling probability 1 there is no randomness but the noise.
  other = keys._replace(sampling=jax.random.key(5), order=jax.random.key(6))
  jax.tree.map(
    np.testing.assert_array_equal, private(*args), private(other, *args[1:])
  )
  # Without target the mean still goes over n + 1: (n + 1) / n of the rate.
  raised = hparams._replace(learning_rate=0.3 * (N + 1) / N, l2=0.0)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6),
    private(keys, fixed, None, raised),
    plain(keys, fixed, None, hparams._replace(l2=0.0)),
  )


def test_noise_belongs_to_the_model_in_every_threat_model(mlp, make_records):
  fixed, target = _problem(make_records)
  targets = Records(*(np.stack([a] * 4) for a in target))
  train = loop.make_train(
    mlp, Recipe(3, mechanism="dp_sgd", sampling_probability=0.5)
  )
  hparams = HParams(0.3, 0.0, 0.5, 1.0)
  for threat in (ensemble.Threat(), ensemble.Threat(False, False)):
    many = ensemble.make_ensemble(train, threat)

    def rows(*ids, many=many):
      parts = ensemble.train_blocks(
        many, ROOT, fixed, targets, np.array(ids), hparams, 3
      )
      return np.concatenate(list(parts))

    first, turned = rows(1, 2, 3, 4), rows(4, 3, 2, 1)
    np.testing.assert_allclose(first, turned[::-1], atol=5e-6)
    gaps = np.abs(first[:, None] - first).max(2)
    assert gaps[~np.eye(4, dtype=bool)].min() > 1e-2
  base = ensemble.train_base(train, ROOT, fixed, hparams)
  assert np.abs(base - first).max(1).min() > 1e-2  # an id of its own


def test_a_sweep_over_noise_and_clip_norm_compiles_once(mlp, make_records):
  fixed, target = _problem(make_records)
  traces, train = [], loop.make_train(mlp, Recipe(3, mechanism="dp_sgd"))

  @jax.jit
  def counted(*args):
    traces.append(1)
    return tree.flatten(train(*args))

  keys = ensemble.model_keys(ROOT, ensemble.Threat(), 0)
  rows = [
    counted(keys, fixed, target, HParams(0.1, 0.0, c, s))
    for c, s in ((1.0, 0.5), (0.1, 0.5), (1.0, 2.0))
  ]
  assert len(traces) == 1
  assert not np.allclose(rows[0], rows[1]) and not np.allclose(*rows[::2])


def _privacy(**changes):
  return (
    dict(
      clip_norm=0.1,
      noise_multiplier=10.0,
      epsilon=0.0,
      sampling_probability=1.0,
      delta=1e-5,
    )
    | changes
  )


@pytest.mark.parametrize(
  "changes, steps, epsilon",
  [
    (dict(), 100, 4.377),
    (dict(noise_multiplier=1.0, sampling_probability=0.01), 1000, 1.83),
    (dict(noise_multiplier=0.0), 100, None),  # no guarantee
  ],
)
def test_statement(changes, steps, epsilon):
  found = dp_sgd.statement(_privacy(**changes), steps)
  expected = epsilon and pytest.approx(epsilon, abs=5e-3)
  beyond = found.pop("delta_beyond_reach")
  assert 0 <= beyond < 1e-14
  assert found == dict(
    mechanism="dp_sgd",
    **_privacy(**changes) | dict(epsilon=expected),
    steps=steps,
    neighbouring_relation="add/remove-one",
  )


def test_noise_for_an_epsilon():
  found = dp_sgd.statement(_privacy(epsilon=10.0), 100)
  assert found["noise_multiplier"] == pytest.approx(4.999, abs=1e-3)
  assert found["epsilon"] == pytest.approx(10.0, abs=1e-6)
  with pytest.raises(UserError, match="training.privacy.*epsilon"):
    dp_sgd.statement(_privacy(epsilon=-1.0), 100)


@pytest.mark.parametrize(
  "changes, message",
  [
    (dict(clip_norm=0.0), r"clip_norm must lie in \(0, inf\), got 0.0"),
    (dict(clip_norm=np.inf), r"clip_norm must lie in \(0, inf\), got inf"),
    (dict(clip_norm=np.nan), r"clip_norm must lie in \(0, inf\), got nan"),
    (dict(noise_multiplier=-1.0), r"noise_multiplier must lie in \[0, inf"),
    (dict(noise_multiplier=np.inf), "noise_multiplier must be finite"),
    (dict(sampling_probability=0.0), r"sampling_probability must lie in \(0,"),
    (dict(sampling_probability=1.5), r"sampling_probability must lie in \(0,"),
    (dict(delta=0.0), r"delta must lie in \(0, 1\)"),
    (dict(delta=1e-15, sampling_probability=0.1), "delta must lie in .1e-12,"),
  ],
)
def test_bad_settings_are_refused(changes, message):
  with pytest.raises(UserError, match=f"training.privacy.*{message}"):
    dp_sgd.statement(_privacy(**changes), 100)


def test_mini_batches_are_refused(mlp):
  with pytest.raises(UserError, match="batch_size must be 0 with.*dp_sgd"):
    loop.make_train(mlp, Recipe(batch_size=4, mechanism="dp_sgd"))
