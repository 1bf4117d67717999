"""The simulation attack on problems small enough to be solved in seconds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from informed_recon import models, prng, tree
from informed_recon.attacks import simulation
from informed_recon.attacks.simulation import step as simulation_step
from informed_recon.attacks.simulation.sampled import sampled_gradient
from informed_recon.training import ensemble, loop, recipe
from informed_recon.types import Records, UserError

SHAPE, CLASSES, FIXED = (4, 4, 1), 3, 20
ROOT = prng.root(0)
MLP = dict(width=6)


def make_simulate(model="mlp", options=MLP, remat=False, sample=0, **settings):
  settings = dict(steps=10) | settings
  network = models.build(model, CLASSES, SHAPE, options)
  spec = recipe.Recipe(**settings)
  gradient = sampled_gradient(network, spec, sample)
  train = loop.make_train(network, spec, gradient=gradient, remat=remat)
  rate = 0.01 if spec.optimizer == "adam" else 0.5

  def simulate(fixed, target, model_id):
    keys = ensemble.model_keys(ROOT, ensemble.Threat(), model_id)
    return tree.flatten(train(keys, fixed, target, recipe.HParams(rate)))

  return simulate


def release(simulate, fixed, targets):
  """The released models of some targets, each with its own one left out."""
  fixed = Records(*map(jnp.asarray, fixed))
  count = len(targets.y)
  ids = np.zeros(count, np.int32)
  run = jax.jit(jax.vmap(simulate, in_axes=(None, 0, 0)))
  base = jax.jit(lambda: simulate(fixed, None, 0))()
  return simulation.Release(
    np.asarray(run(fixed, targets, ids)), np.tile(base, (count, 1)), ids
  )


def search(simulate, fixed, releases, settings=None, start=None, **options):
  labels = np.arange(CLASSES, dtype=np.int32)
  start = (
    np.full((CLASSES, *SHAPE), 0.5, np.float32) if start is None else start
  )
  found = simulation.reconstruct(
    simulate,
    fixed,
    releases,
    lambda i: (start, labels),
    settings or simulation.Search(),
    **options,
  )
  return dict(found)


@pytest.fixture
def records(make_records):
  some = make_records(FIXED + 3, SHAPE, CLASSES)
  fixed = Records(*(a[:FIXED] for a in some))
  return fixed, Records(*(a[FIXED:] for a in some))


def assert_found(found, targets, limit=1e-5):
  assert sorted(found) == list(range(len(targets.y)))
  for i, answer in found.items():
    assert answer.explained
    assert answer.y == targets.y[i]
    assert np.mean((answer.x - targets.x[i]) ** 2) < limit
    assert len(answer.trace) == len(answer.iterates) == answer.steps
    assert answer.passes > answer.steps


def test_gradient_of_training_against_finite_differences(records):
  fixed, targets = records
  simulate = make_simulate(steps=20)
  fixed = Records(*map(jnp.asarray, fixed))
  x, y = jnp.asarray(targets.x[0]), targets.y[0]
  direction = jax.random.normal(jax.random.key(1), SHAPE)

  def end(x):
    return simulate(fixed, Records(x, y), 0)

  _, forward = jax.jvp(end, (x,), (direction,))
  step = 0.03
  difference = end(x + step * direction) - end(x - step * direction)
  np.testing.assert_allclose(
    difference / (2 * step), forward, atol=2e-2 * np.abs(forward).max()
  )
  cotangent = jax.random.normal(jax.random.key(2), forward.shape)
  (backward,) = jax.vjp(end, x)[1](cotangent)
  np.testing.assert_allclose(
    jnp.vdot(backward, direction), jnp.vdot(cotangent, forward), rtol=1e-4
  )


@pytest.mark.parametrize(
  "settings",
  [
    dict(optimizer="adam", steps=20),
    dict(batch_size=7, steps=12),
    *(
      pytest.param(settings, marks=pytest.mark.slow)
      for settings in (
        dict(model="convnet", options=dict(widths=(8, 8), pooling="stride")),
        dict(),
        dict(optimizer_options=dict(momentum=0.9)),
        dict(sample=6),
        dict(options=dict(width=16, activation="relu"), steps=5),
        dict(model="linear", options={}),
        dict(remat=True),
      )
    ),
  ],
  ids=lambda settings: "-".join(map(str, settings.values())) or "sgd",
)
def test_finds_record_and_label(records, settings):
  fixed, targets = records
  simulate = make_simulate(**settings)
  found = search(simulate, fixed, release(simulate, fixed, targets), batch=3)
  # At kinks the steps grow short.
  kinks = "relu" in str(settings)
  assert_found(found, targets, limit=1e-3 if kinks else 1e-5)


@pytest.mark.slow
def test_adam_where_a_pixel_is_dark_in_all_records(records):
  """There its derivative is that of a root at 0."""
  fixed, targets = (Records(r.x.copy(), r.y) for r in records)
  fixed.x[:, 0, 0] = targets.x[:, 0, 0] = 0
  plain = make_simulate(optimizer="adam")
  with pytest.raises(UserError, match="no finite derivative .*eps_root"):
    search(plain, fixed, release(plain, fixed, targets))
  rooted = make_simulate(
    optimizer="adam", steps=20, optimizer_options=dict(eps_root=1e-6)
  )
  found = search(rooted, fixed, release(rooted, fixed, targets), batch=3)
  assert_found(found, targets)


@pytest.mark.slow  # test_sampled.py has the derivative itself
def test_a_cheaper_jacobian_counts_for_less(records):
  """Made of 7 of 20 records a step: the same values, and fewer passes."""
  fixed, targets = records
  one = Records(*(t[:1] for t in targets))
  whole, sampled = make_simulate(), make_simulate(sample=7)
  releases = release(whole, fixed, one)
  target = Records(*(t[0] for t in one))
  known = Records(*map(jnp.asarray, fixed))
  for target_or_none in (target, None):
    ends = [jax.jit(f)(known, target_or_none, 0) for f in (whole, sampled)]
    np.testing.assert_allclose(ends[1], ends[0], atol=1e-6)
  dear = search(whole, fixed, releases)[0]
  cheap = search(sampled, fixed, releases, jacobian_cost=0.4)[0]
  # One run a candidate to begin with, two a step, and products: at least two.
  for answer, cost in ((dear, 1.0), (cheap, 0.4)):
    products = (answer.passes - CLASSES - 2 * answer.steps) / cost
    assert products == pytest.approx(round(products), abs=1e-3)
    assert products >= 2 * answer.steps
  assert cheap.passes < dear.passes


def test_batch_and_what_is_done_already_change_no_answer(records):
  fixed, targets = records
  simulate = make_simulate()
  releases = release(simulate, fixed, targets)
  together = search(simulate, fixed, releases, batch=3)
  alone = search(simulate, fixed, releases, batch=1, skip={1})
  assert sorted(alone) == [0, 2]
  for i, answer in alone.items():
    np.testing.assert_allclose(answer.x, together[i].x, atol=1e-4)


def test_time_ends_a_search_where_it_stands(records):
  fixed, targets = records
  simulate = make_simulate()
  releases = release(simulate, fixed, targets)
  cut = search(simulate, fixed, releases, batch=1, until=0.0)
  assert list(cut) == [0] and not cut[0].ended and cut[0].steps == 1
  assert all(a.ended for a in search(simulate, fixed, releases).values())


def test_a_release_that_has_to_wait_for_another(records):
  """Release 1 begins after the answer to release 0 is there."""
  fixed, targets = records
  simulate = make_simulate()
  labels = np.arange(CLASSES, dtype=np.int32)
  ended, begun = [], []

  def candidates(i):
    if i == 1 and 0 not in ended:
      return None
    begun.append((i, tuple(ended)))
    return np.full((CLASSES, *SHAPE), 0.5, np.float32), labels

  given = simulate, fixed, release(simulate, fixed, targets), candidates
  for i, _ in simulation.reconstruct(*given, simulation.Search(), batch=2):
    ended.append(i)
  assert sorted(ended) == [0, 1, 2] and dict(begun)[1][:1] == (0,)


def test_an_error_in_any_lane_ends_the_search(records):
  fixed, targets = records
  simulate = make_simulate()
  labels = np.arange(CLASSES, dtype=np.int32)

  def candidates(i):
    if i == 1:
      raise OSError("no start for it")
    return np.full((CLASSES, *SHAPE), 0.5, np.float32), labels

  given = simulate, fixed, release(simulate, fixed, targets), candidates
  with pytest.raises(OSError, match="no start"):
    list(simulation.reconstruct(*given, simulation.Search(), batch=2))


def test_a_release_the_recipe_cannot_make_stays_unexplained(records):
  fixed, targets = records
  simulate = make_simulate()
  releases = release(simulate, fixed, targets)
  other = release(make_simulate(steps=13), fixed, targets)
  foreign = releases._replace(theta=other.theta)
  found = search(simulate, fixed, foreign, simulation.Search(steps=30), batch=3)
  assert not any(answer.explained for answer in found.values())
  assert min(answer.residual for answer in found.values()) > 0.05


def test_answer_stays_within_bounds(records):
  fixed, targets = records
  simulate = make_simulate()
  bright = targets._replace(x=targets.x + 1)  # outside what is allowed
  found = search(simulate, fixed, release(simulate, fixed, bright), batch=3)
  for answer in found.values():
    assert answer.x.min() >= 0 and answer.x.max() <= 1
    assert not answer.explained
  free = simulation.Search(bounds=None)
  found = search(simulate, fixed, release(simulate, fixed, bright), free)
  assert_found(found, bright)


def test_prior_pulls_to_the_mean_and_none_does_not(records):
  fixed, targets = records
  simulate = make_simulate()
  releases = release(simulate, fixed, targets)
  strong = simulation.gaussian_prior(fixed.x, weight=1e4)
  found = search(
    simulate, fixed, releases, simulation.Search(steps=12), prior=strong
  )
  for answer in found.values():
    np.testing.assert_allclose(answer.x, fixed.x.mean(0), atol=1e-2)
    assert not answer.explained


def test_gaussian_prior_is_the_mahalanobis_norm(make_records):
  x = make_records(200, (3, 2, 1)).x
  penalty = simulation.gaussian_prior(x, weight=0.25)
  flat = x.reshape(200, -1).astype(np.float64)
  covariance = np.cov(flat.T)
  covariance += 0.01 * np.trace(covariance) / 6 * np.eye(6)
  away = flat[0] - flat.mean(0)
  expected = 0.25 * away @ np.linalg.solve(covariance, away)
  assert jnp.sum(penalty(x[0]) ** 2) == pytest.approx(expected, rel=1e-4)


def test_first_steps_are_coarse(records, monkeypatch):
  """They tell candidates apart; the others want to arrive."""
  fixed, targets = records
  simulate = make_simulate()
  releases = release(simulate, fixed, Records(*(t[:1] for t in targets)))
  spent = []
  for screening in (simulation_step.SCREENING, 1e-3):
    monkeypatch.setattr(simulation_step, "SCREENING", screening)
    spent.append(search(simulate, fixed, releases)[0].spent)
  assert spent[0][0] < spent[1][0]


def test_a_hopeless_candidate_gives_way_to_the_next(records):
  """The true label last, behind starting points that look better."""
  fixed, targets = records
  simulate = make_simulate()
  one = Records(targets.x[:1], np.int32([CLASSES - 1]))
  start = np.stack([one.x[0], one.x[0], np.full(SHAPE, 0.5, np.float32)])
  found = search(
    simulate, fixed, release(simulate, fixed, one), start=start, batch=1
  )
  assert_found(found, one)


@pytest.mark.parametrize(
  "wrong",
  [
    dict(steps=0),
    dict(cg_steps=0),
    dict(cg_tolerance=1.0),
    dict(optimism=0.0),
    dict(explained=2.0),
    dict(converged=0.5),
  ],
)
def test_settings_that_make_no_sense(wrong):
  with pytest.raises(UserError, match=f"simulation.*{next(iter(wrong))}"):
    simulation.check(simulation.Search(**wrong))
