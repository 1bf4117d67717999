"""Several unknown records at once, on networks small enough for seconds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from scipy import optimize

from informed_recon.attacks import sets
from informed_recon.attacks.sets import search
from informed_recon.attacks.sets import step as steps
from informed_recon.types import Records, UserError

D, CLASSES, WIDTH, N = 12, 3, 8, 20


def _records(seed=0, n=N + 4):
  """Of three classes, about their means."""
  rng = np.random.default_rng(seed)
  means = np.random.default_rng(9).uniform(size=(CLASSES, D))
  y = rng.integers(CLASSES, size=n)
  x = np.clip(means[y] + 0.15 * rng.normal(size=(n, D)), 0, 1)
  return Records(np.float32(x), y), np.float32(means)


def _train(x, y, width=WIDTH, steps=15):
  keys = jax.random.split(jax.random.key(0))
  start = dict(
    a=jax.random.normal(keys[0], (D, width)) / 3,
    b=jnp.zeros(width),
    c=jax.random.normal(keys[1], (width, CLASSES)) / 2,
    e=jnp.zeros(CLASSES),
  )

  def loss(p):
    logits = jax.nn.elu(x @ p["a"] + p["b"]) @ p["c"] + p["e"]
    each = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return each.mean()

  def advance(p, _):
    return jax.tree.map(lambda a, g: a - 0.5 * g, p, jax.grad(loss)(p)), None

  return jax.lax.scan(advance, start, None, steps)[0]


def _sampled(known, size, width=WIDTH, steps=15):
  """`_train` on known records of which a derivative sees some."""

  def loss(p, x, y):
    logits = jax.nn.elu(x @ p["a"] + p["b"]) @ p["c"] + p["e"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  gradient = sets.sampled(loss, known, size)

  def train(x, y):
    start = _train(x, y, width, steps=0)

    def advance(p, i):
      grads = gradient(p, x, y, i)
      return jax.tree.map(lambda a, g: a - 0.5 * g, p, grads), None

    end = jax.lax.scan(advance, start, jnp.arange(steps))[0]
    return ravel_pytree(end)[0]

  return jax.jit(train)


def _released(k, seed=0, train=_train):
  """(explain, seen, base, means, truth) with k records unknown."""
  records, means = _records(seed)
  known = Records(*(a[:N] for a in records))
  truth = Records(*(a[N : N + k] for a in records))
  explain, base = sets.simulation(train, known)
  return explain, explain(*truth), base, means, truth


def _errors(found, truth):
  """Mse of each answer in the best order, and whether its label is right."""
  square = ((found.x[:, None] - truth.x[None]) ** 2).mean(-1)
  answer, record = optimize.linear_sum_assignment(square)
  return square[answer, record], found.y[answer] == truth.y[record]


@pytest.mark.parametrize("size", (N // 2, N))
def test_a_derivative_by_a_sample_finds_them_too(released, size):
  explain, seen, base, means, truth = released
  known = Records(*(a[:N] for a in _records()[0]))
  train = _sampled(known, size)
  # What is simulated is the training on all; what a record does to it is not.
  np.testing.assert_allclose(train(*truth), seen, rtol=1e-5, atol=1e-6)
  ways = [
    jax.jacfwd(f)(jnp.asarray(truth.x), truth.y) for f in (explain, train)
  ]
  off = jnp.linalg.norm(ways[1] - ways[0]) / jnp.linalg.norm(ways[0])
  assert off < 1e-4 if size == N else 1e-3 < off < 0.12
  found = sets.reconstruct(train, seen, base, means, 2, labels=truth.y)
  error, _ = _errors(found, truth)
  assert found.identifiable.all() and (error < 1e-5).all()


def test_a_sample_is_of_the_known_records():
  known = Records(*(a[:N] for a in _records()[0]))
  for size in (0, N + 1):
    with pytest.raises(UserError, match="between 1 and 20"):
      sets.sampled(None, known, size)


@pytest.fixture(scope="module")
def released():
  return _released(2)


def test_finds_two_records_and_their_labels(released):
  *given, truth = released
  found = sets.reconstruct(*given, 2)
  error, right = _errors(found, truth)
  assert found.residual <= 1e-3 and found.identifiable.all()
  assert right.all() and (error < 1e-5).all()
  # Neither is vouched for where it explains another release.
  explain, seen, base, means = given
  seen = np.asarray(seen)
  noise = np.random.default_rng(0).normal(size=seen.shape) * np.std(seen - base)
  lost = sets.reconstruct(explain, seen + 0.3 * noise, base, means, 2)
  assert not lost.identifiable.any() and "no 2 records" in lost.message


@pytest.mark.parametrize("counts", [0.0, 1.0])
def test_a_label_that_does_not_count_is_not_vouched_for(counts):
  rng = np.random.default_rng(0)
  weights = rng.normal(size=(3, 60)).astype(np.float32) * 2
  by_label = jnp.asarray(rng.normal(size=(2, 60)), jnp.float32)
  x = jnp.array([[0.1, 0.8, 0.3], [0.9, 0.2, 0.6]])

  def explain(x, y):
    return (jnp.tanh(x @ weights) * (1 + counts * by_label[y])).sum(0)

  seen = explain(x, jnp.array([0, 1]))
  means = np.array([[0.2, 0.7, 0.4], [0.8, 0.3, 0.5]], np.float32)
  given = explain, seen, np.zeros(60, np.float32), means, 2
  found = sets.reconstruct(*given)
  assert found.identifiable.all() if counts else not found.identifiable.any()
  assert bool(found.message) != bool(counts)
  assert sets.reconstruct(*given, labels=[0, 1]).identifiable.all()  # known


def test_labels_are_read_off_what_records_change_together():
  explain, seen, base, means, truth = _released(3, seed=4)
  others = _records(seed=5, n=200)[0]
  effects = sets.effects(explain, base, *others)
  alone = explain(others.x[7:8], others.y[7:8]) - base
  np.testing.assert_allclose(effects[7], alone, atol=1e-6)
  every = list(itertools.combinations_with_replacement(range(CLASSES), 3))
  likely = sets.likely_labels(effects, others.y, seen - base, 3, count=20)
  assert sorted(map(tuple, likely)) == every  # no set twice, none left out
  assert sorted(truth.y) == list(likely[0])
  # From one wrong label the right ones are reached by an exchange.
  wrong = np.sort(truth.y)
  wrong[0] = (wrong[0] + 1) % CLASSES
  found = sets.reconstruct(explain, seen, base, means, 3, labels=wrong[None])
  error, right = _errors(found, truth)
  assert right.all() and found.identifiable.all() and (error < 1e-5).all()


def test_labels_of_many_classes_are_those_that_fit_best():
  rng = np.random.default_rng(0)
  y = np.repeat(np.arange(6) + 2, 20)  # classes need not begin at 0
  effects = rng.normal(size=(6, 40))[y - 2] + 0.1 * rng.normal(size=(120, 40))
  truth = [2, 3, 3, 5, 7, 7, 7, 7]
  change = sum(effects[y == c][0] for c in truth)
  assert list(sets.likely_labels(effects, y, change, 8)[0]) == truth
  with pytest.raises(UserError, match="effects must be"):
    sets.likely_labels(effects[:5], y, change, 8)
  with pytest.raises(UserError, match="two records of one class"):
    sets.likely_labels(effects[::20], y[::20], change, 8)


def test_the_gram_over_records_is_that_of_columns():
  rng = np.random.default_rng(0)
  shared = 0.2 * rng.normal(size=(400, 3, 1))  # by all columns
  wide = (shared + rng.normal(size=(400, 3, 50))).reshape(400, -1)
  wide = jnp.asarray(wide, jnp.float32)
  x = jnp.zeros((3, 50))
  said = steps.gram(lambda v: wide @ v.ravel(), x)
  blocks = np.asarray(wide).reshape(400, 3, 50)
  exact = np.einsum("pic,pjc->ij", blocks, blocks) / 50
  np.testing.assert_allclose(said, exact, atol=0.3 * np.abs(exact).max())


def test_what_earlier_steps_learned_shortens_the_next(released):
  explain, seen, *_, truth = released
  x = jnp.asarray(truth.x) + 0.05
  y = jnp.asarray(truth.y)
  cold = steps.begin(explain, seen, x, y)._replace(damping=1e-6)
  step = jax.jit(lambda s: steps.step(explain, seen, y, s))
  first = step(cold)
  warm = step(cold._replace(memory=first.memory))
  assert warm.products < first.products
  np.testing.assert_allclose(warm.x, first.x, atol=0.02)


def test_the_half_that_is_least_sure_begins_anew(released):
  explain, seen, base, means, truth = released
  rng = np.random.default_rng(0)
  whole = search._Search(explain, seen, base, means, 5, rng)
  x = jnp.asarray(truth.x).at[1].add(0.8)  # out of bounds
  begun = whole.renewed(whole.at(x, truth.y), (0.0, 1.0))
  assert len(begun) == search.STARTS
  for state, _ in begun:
    np.testing.assert_allclose(state.x[0], truth.x[0], atol=1e-6)
    assert np.abs(state.x[1] - x[1]).max() > 0.3


def _after(explain, seen, x, pull, count):
  """Where `count` steps from x lead, and the misfit after each."""
  state = steps.begin(explain, seen, x, None)._replace(pull=pull)
  step = jax.jit(lambda s: steps.step(explain, seen, None, s))
  costs = []
  for _ in range(count):
    state = step(state)
    costs.append(float(state.cost))
  return np.asarray(state.x), costs


def test_what_is_hardly_told_stays_where_the_search_began():
  def explain(x, y):
    return jnp.stack([x[0, 0] + x[0, 1], 1e-3 * x[0, 1]])

  seen, x = jnp.array([1.0, 0.02]), jnp.zeros((1, 2))
  held, costs = _after(explain, seen, x, steps.START_PULL, 6)
  loose, _ = _after(explain, seen, x, 0.0, 6)
  assert abs(held[0, 1]) < 1 and abs(held.sum() - 1) < 0.01
  assert loose[0, 1] > 10 and costs[-1] < 1e-3


def test_the_correction_follows_a_bent_valley(monkeypatch):
  def explain(x, y):
    a, b = x[0]
    return jnp.stack([30 * (b - a**2), 1 - a])

  valley = explain, jnp.zeros(2), jnp.array([[-1.2, 1.0]]), 0.0, 25
  end, costs = _after(*valley)
  np.testing.assert_allclose(end, 1, atol=1e-3)
  monkeypatch.setattr(steps, "BEND_STEPS", 0)
  _, straight = _after(*valley)
  assert costs[3] < 1e-6 and straight[-1] > 1


def test_a_stationary_point_gives_two_records_away():
  with jax.enable_x64(True):
    records, means = _records()
    records = Records(np.float64(records.x[: N + 2]), records.y[: N + 2])
    l2, k = 0.02, 2

    def loss(p, x, y):
      logits = jnp.tanh(x @ p["a"]) @ p["c"]
      return optax.softmax_cross_entropy_with_integer_labels(logits, y)

    def objective(flat):
      p = unravel(flat)
      each = jax.vmap(loss, (None, 0, 0))(p, *map(jnp.asarray, records))
      return each.mean() + l2 / 2 * jnp.vdot(flat, flat)

    rng = np.random.default_rng(1)
    start = dict(a=rng.normal(size=(D, 6)), c=rng.normal(size=(6, CLASSES)))
    flat, unravel = jax.flatten_util.ravel_pytree(start)
    solved = optimize.minimize(
      jax.jit(jax.value_and_grad(objective)),
      *(flat,),
      jac=True,
      method="BFGS",
      options=dict(gtol=1e-9),
    )
    params = unravel(jnp.asarray(solved.x))
    known = Records(*(a[:N] for a in records))
    explain, seen = sets.stationarity(loss, params, known, k, l2)
    labels = records.y[N:]
    found = sets.reconstruct(
      explain, seen, 0 * seen, np.float64(means), k, labels=labels
    )
  error, _ = _errors(found, Records(records.x[N:], labels))
  assert (error < 1e-6).all() and found.residual < 1e-4


def test_one_line_for_bad_input(released):
  explain, seen, base, means, _ = released
  with pytest.raises(UserError, match="equations for .*at most 10 records"):
    sets.reconstruct(explain, seen, base, means, 11)
  with pytest.raises(UserError, match="labels of shape .3,."):
    sets.reconstruct(explain, seen, base, means, 2, labels=np.zeros(3, int))
  for labels in ([0, CLASSES], [-1, 0], [0.0, 1.0]):
    with pytest.raises(UserError, match="whole numbers from 0 to 2"):
      sets.reconstruct(explain, seen, base, means, 2, labels=labels)
  with pytest.raises(UserError, match="equals base"):
    sets.reconstruct(explain, base, base, means, 2)
  for bounds in (None, (0, np.inf), (1, 0), (0, np.nan)):
    with pytest.raises(UserError, match="bounds must be finite"):
      sets.reconstruct(explain, seen, base, means, 2, bounds=bounds)


def test_what_is_left_counts_by_the_numbers_that_are_to_spare():
  rng = np.random.default_rng(0)
  k, d, labels = 4, 16, np.arange(4)
  truth = np.float32(rng.uniform(size=(k, d)))
  identifiable = []
  for spare in (1, k * d):
    axes = np.linalg.qr(rng.normal(size=(k * d + spare,) * 2))[0]
    toward, apart = np.float32(axes[:, : k * d]), np.float32(axes[:, k * d])

    def explain(x, y, toward=toward):
      return toward @ x.ravel()

    seen = explain(truth, labels)
    seen += 3e-4 * np.linalg.norm(seen) * apart  # what no record explains
    means = np.full((k, d), 0.5, np.float32)
    base = np.zeros_like(seen)
    found = sets.reconstruct(explain, seen, base, means, k, labels=labels)
    assert found.residual == pytest.approx(3e-4, rel=0.1)
    identifiable.append(found.identifiable.tolist())
  assert identifiable == [[False] * k, [True] * k]


def test_a_direction_that_mixes_columns_counts():
  rng = np.random.default_rng(0)
  k, d, labels = 4, 16, np.arange(4)
  truth = np.float32(rng.uniform(size=(k, d)))
  inward, outward = (
    np.linalg.qr(rng.normal(size=(m, m)))[0] for m in (k * d, 2 * k * d)
  )
  identifiable = []
  for least in (1, 1e-3):
    values = np.ones(k * d)
    values[-1] = least  # a direction that is hardly seen, of all columns
    toward = np.float32(outward[:, : k * d] * values @ inward)

    def explain(x, y, toward=toward):
      return toward @ x.ravel()

    seen = explain(truth, labels)
    seen += 3e-4 * np.linalg.norm(seen) * np.float32(outward[:, -1])
    found = sets.reconstruct(
      *(explain, seen, np.zeros_like(seen), np.full((k, d), 0.5, np.float32)),
      k,
      labels=labels,
    )
    identifiable.append(found.identifiable.tolist())
  assert identifiable == [[True] * k, [False] * k]


@pytest.mark.slow
@pytest.mark.parametrize(
  "k, width, least", [(2, 2, 10), (3, 4, 10), (4, 5, 10), (6, 8, 10), (5, 4, 0)]
)
def test_nothing_wrong_is_vouched_for(k, width, least):
  """Hardly more equations than unknowns, wrong labels, noise, twins."""

  def train(x, y):
    return _train(x, y, width)

  explain, base = sets.simulation(
    train, Records(*(a[:N] for a in _records()[0]))
  )
  vouched = wrong = 0
  for seed in range(30):
    rng = np.random.default_rng(seed)
    records, means = _records(seed + 1, N + k)
    truth = Records(records.x[N : N + k].copy(), records.y[N : N + k])
    if seed % 3 == 1:  # two that are nearly the same
      truth.x[1], truth.y[1] = truth.x[0] + 1e-3, truth.y[0]
    seen = np.array(explain(*map(jnp.asarray, truth)))
    if seed % 2:  # rounding of coarse numbers
      seen = seen + 10.0 ** -rng.integers(3, 7) * rng.normal(size=seen.shape)
    labels = truth.y.copy()
    if seed % 5 == 4:
      labels[0] = (labels[0] + 1) % CLASSES
    found = sets.reconstruct(
      *(explain, np.float32(seen), base, means, k), labels=labels
    )
    square = ((found.x[:, None] - truth.x[None]) ** 2).mean(-1)
    answer, record = optimize.linear_sum_assignment(square)
    sure = found.identifiable[answer]
    vouched += sure.sum()
    wrong += (sure & (square[answer, record] > 1e-3)).sum()
  print(k, width, "vouched", vouched, "wrong", wrong)
  assert vouched >= least and not wrong
