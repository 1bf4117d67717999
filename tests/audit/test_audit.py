"""The audit on models and data that are not the project's."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon import audit as doors
from informed_recon.audit import choice, frame, simulated
from informed_recon.types import UserError


def _moons(n=40, seed=0):
  """Two classes in the plane, far from unit scale."""
  rng = np.random.default_rng(seed)
  y = rng.integers(2, size=n)
  angle = rng.uniform(0, np.pi, n)
  x = np.stack([np.cos(angle) + y, np.sin(angle) * (1 - 2 * y)], 1)
  x += rng.normal(0, 0.1, x.shape)
  return x * [100.0, 0.01] + [5.0, 3.0], y


def _own_adam(key, x, y, steps=60):
  """A plain-function network with its own Adam and augmentation."""
  x = (x - jnp.array([5.0, 3.0])) / jnp.array([100.0, 0.01])
  a, b, order = jax.random.split(key, 3)
  params = (jax.random.normal(a, (3, 12)), jax.random.normal(b, (13, 2)) / 4)

  def loss(params, x):
    hidden = jnp.tanh(
      jnp.pad(x, ((0, 0), (0, 1)), constant_values=1) @ params[0]
    )
    logits = jnp.pad(hidden, ((0, 0), (0, 1)), constant_values=1) @ params[1]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    return losses.mean()

  def step(carry, t):
    params, m, v = carry
    noise = 0.01 * jax.random.normal(jax.random.fold_in(order, t), x.shape)
    g = jax.grad(loss)(params, x + noise)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, v, g)
    params = jax.tree.map(
      lambda p, m, v: p - 0.03 * m / jnp.sqrt(v + 1e-4), params, m, v
    )
    return (params, m, v), None

  zero = jax.tree.map(jnp.zeros_like, params)
  return jax.lax.scan(step, (params, zero, zero), jnp.arange(steps))[0][0]


def _start(key, x, y):
  return x.mean(0)


@pytest.fixture(scope="module")
def moons():
  x, y = _moons()
  return x, y, doors.audit(_own_adam, x, y, records=[3, 7, 11, 20, 31])


def test_a_table_of_wild_scales_is_read_out(moons):
  x, _, found = moons
  assert list(found.table.record) == [3, 7, 11, 20, 31]
  assert found.table.confident.sum() >= 3
  for i in found.table.record[found.table.confident]:
    wrong = (found.reconstructions[i] - x[i]) / x.std(0)
    assert np.abs(wrong).max() < 0.05
  assert set(found.table.columns) >= {"label", "attack", "mse", "oracle_mse"}


def test_errors_are_in_spreads_all_of_them(moons):
  """One unit for the answer, the nearest record and a blind guess: in the
  columns' own the first one, of 100, would be all that counts."""
  x, y, found = moons
  spread = frame.make(x, y).scale
  for row in found.table.itertuples():
    square = np.mean(((x - x[row.record]) / spread) ** 2, 1)
    square[row.record] = np.inf
    answer = (found.reconstructions[row.record] - x[row.record]) / spread
    alike = (y == row.label) & np.isfinite(square)
    blind = (x[alike].mean(0) - x[row.record]) / spread
    assert row.mse == pytest.approx(np.mean(answer**2))
    assert row.oracle_mse == pytest.approx(square.min(), rel=1e-3)
    assert row.blind_mse == pytest.approx(np.mean(blind**2), rel=1e-3)


def test_no_headline_for_answers_that_need_no_model():
  """Records that lie farther from each other than from their mean."""
  x = np.random.default_rng(0).normal(size=(64, 30)) * np.geomspace(1, 1e3, 30)
  found = doors.audit(
    lambda key, x, y: jnp.ones(5), x, np.arange(64) % 2, records=[1, 2, 3, 4]
  )
  figures = found.facts["figures"]
  assert figures["nearer_than_oracle"] == 4
  assert figures["blind_nearer_than_oracle"] == 4
  assert "None of 4 records" in found.facts["verdict"]


def test_the_answer_can_be_filed(moons, tmp_path):
  *_, found = moons
  for part in ("Tried", "Measured", "Proven", "Combined"):
    assert part in found.statement
  found.report(tmp_path / "page.html")
  page = (tmp_path / "page.html").read_text()
  assert "Risk statement" in page and "<b>oracle_mse</b>" in page
  said = json.loads((tmp_path / "page.json").read_text())
  assert len(said["records"]) == 5
  found.to_csv(tmp_path / "table.csv")
  assert len((tmp_path / "table.csv").read_text().splitlines()) == 6
  assert len(found.most_exposed(2)) == 2 and found.plot().axes
  with pytest.raises(UserError, match="folder"):
    found.report(tmp_path)


def test_a_second_call_goes_on(moons, monkeypatch):
  x, y, found = moons
  monkeypatch.setattr(simulated, "search", None)  # nothing is left to search
  again = doors.audit(_own_adam, x, y, records=[20, 3])
  first = found.table.set_index("record").mse
  assert dict(zip(again.table.record, again.table.mse)) == dict(first[[20, 3]])


def test_a_feature_that_training_does_not_see_is_not_vouched_for():
  x, y = _moons()
  x = np.hstack([x, np.random.default_rng(1).normal(size=(len(x), 1))])
  blind = doors.audit(
    lambda key, x, y: _own_adam(key, x[:, :2], y), x, y, records=[3, 20]
  )
  assert (blind.table.attack == "simulation").all()
  assert not blind.table.confident.any()


@pytest.mark.slow
def test_a_sum_of_features_does_not_tell_them_apart():
  x, y = _moons()
  more = np.random.default_rng(1).normal(size=(len(x), 1))
  x = np.hstack(
    [x[:, :1] / 2 - 100 * more, x[:, 1:], x[:, :1] / 2 + 100 * more]
  )

  def train(key, x, y):
    return _own_adam(key, jnp.stack([x[:, 0] + x[:, 2], x[:, 1]], 1), y)

  found = doors.audit(train, x, y, records=[3, 7])
  assert (found.table.attack == "simulation").all()
  assert not found.table.confident.any()


@pytest.mark.slow
def test_two_of_many_features_that_only_add_up():
  """The move of the second search leaves their difference alone, on purpose:
  only the Jacobian tells."""
  d = 70
  move = np.random.default_rng(0).choice([-1, 1], d)
  a, b = np.flatnonzero(move == move[0])[:2]
  rng = np.random.default_rng(5)
  x, y = rng.normal(size=(40, d)).astype(np.float32), np.arange(40) % 3

  def train(key, x, y, merge):
    if merge:
      x = x.at[:, a].add(x[:, b]).at[:, b].set(0.0)
    first = jax.random.normal(key, (d, 3)) / 8, jnp.zeros(3)

    def loss(p):
      logits = jnp.asarray(x) @ p[0] + p[1]
      return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(p, _):
      return jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(loss)(p)), None

    return jax.lax.scan(step, first, None, 20)[0]

  def found(merge):
    def both(key, x, y):
      return train(key, jnp.asarray(x), y, merge)

    return doors.audit(both, x, y, records=[0, 1]).table

  assert found(False).confident.all()
  merged = found(True)
  assert (merged.residual < 1e-3).all() and (merged.error < 1e-3).all()
  assert not merged.confident.any()


def test_a_sign_that_training_does_not_see_is_not_vouched_for():
  rng = np.random.default_rng(3)
  x = rng.normal(size=(30, 6)).astype(np.float32)
  y = rng.integers(3, size=30)

  def train(key, x, y):
    a, b = jax.random.split(key)
    first, last = jax.random.normal(a, (6, 10)), jax.random.normal(b, (10, 3))
    params = first / 2, last / 3, jnp.zeros(10)

    def loss(params):
      hidden = jax.nn.relu(jnp.abs(x) @ params[0] + params[2])
      logits = hidden @ params[1]
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
      return losses.mean()

    def step(params, _):
      gradient = jax.grad(loss)(params)
      return jax.tree.map(lambda p, g: p - 0.2 * g, params, gradient), None

    return jax.lax.scan(step, params, None, 40)[0]

  found = doors.audit(train, x, y, records=[0])
  assert found.table.residual[0] < 0.01  # another record explains the release
  assert not found.table.confident.any()


@pytest.mark.parametrize(
  "of_label, told",
  [
    (lambda x, y: x, 0),  # training ignores the label
    (lambda x, y: y[:, None] == 2, 2),  # one class against all others
    (lambda x, y: 0.3 * y[:, None], 4),
  ],
)
def test_a_label_that_training_does_not_tell(of_label, told):
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 3

  def train(key, x, y):
    x = jnp.asarray(x)
    return jnp.hstack([x + 0.1 * jnp.sin(x), x**3, of_label(x, y)])

  found = doors.audit(train, x, y, records=[0, 1, 2, 5])
  assert found.table.confident.all()
  said = found.table[found.table.label_found.notna()]
  assert len(said) == told and (said.label == said.label_found).all()
  assert (f"the label of {4 - told} records" in found.statement) == (told < 4)


@pytest.mark.parametrize(
  "seen",
  [
    lambda x, y: x + y[:, None],  # an embedding of the label, added
    lambda x, y: x * (1.0 + y[:, None]),
    lambda x, y: x * (2.0 * y[:, None] - 1),  # a linear model without bias
  ],
)
def test_a_label_that_other_features_make_up_for(seen):
  rng = np.random.default_rng(3)
  x, y = rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2

  def train(key, x, y):
    z = seen(jnp.asarray(x), y)
    return jnp.hstack([jnp.sinh(z), z + jnp.sin(z) / 4])

  found = doors.audit(train, x, y, records=[0, 1])
  assert (found.table.residual < 0.01).all() and not found.table.confident.any()


def test_a_function_that_can_only_be_called():
  x, y = _moons(64)

  def train(key, x, y):
    return {"means": np.stack([x[y == k].mean(0) for k in (0, 1)])}

  found = doors.audit(train, x, y, key=0, records=[1, 2, 3])
  assert "cannot be traced" in found.statement
  assert "attacks.sklearn.audit" in found.statement
  assert set(found.table.attack) == {"shadow_ridge"}
  assert not found.table.confident.any()


def test_a_release_that_the_recipe_does_not_explain(moons):
  x, y, _ = moons
  key = jax.random.key(0)
  for release in (
    _own_adam(key, x, y, steps=70),
    _own_adam(jax.random.key(1), x, y),
  ):
    found = doors.audit_released(release, x, y, train=_own_adam, records=[3, 7])
    assert "does not explain the release" in found.statement
    assert not found.table.confident.any()
  right = doors.audit_released(
    _own_adam(key, x, y), x, y, train=_own_adam, records=[3, 7]
  )
  assert right.table.confident.any()


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(records=[99]), "must lie in"),
    (dict(records="best"), "must be indices"),
    (dict(records="highest_loss"), "wants loss"),
    (dict(minutes=0), "above 0"),
    (dict(minutes="5"), "minutes must be a number above 0, got '5'"),
    (dict(train=None), "train must be a function"),
    (dict(variants=[_own_adam]), "variants must be named"),
    (dict(variants={"half": 3}), "variant 'half' must be a function"),
    (dict(guarantee=(1, 1.0, 10)), "guarantee must be a Guarantee"),
    (dict(loss=lambda p, x, y: x), r"loss must return one.*shape \(2,\)"),
    (dict(loss=lambda p, x, y: np.nan), "loss of record 0 is NaN"),
    (dict(loss=lambda p, x, y: p["w"]), "loss failed on the release"),
    (dict(score=lambda p: "x"), "score must return one number, got str"),
    (dict(x=np.zeros((40, 2)) * np.nan), "not finite"),
    (dict(train=lambda key, x, y: "weights"), "pytree"),
    (dict(train=lambda key, x, y: x.missing), "failed on its own"),
  ],
)
def test_bad_input_is_one_line(change, message):
  x, y = _moons()
  given = dict(train=_start, x=x, y=y) | change
  with pytest.raises(UserError, match=message):
    doors.audit(given.pop("train"), given.pop("x"), given.pop("y"), **given)


@pytest.mark.parametrize("top", [16.0, 1.0, 0.016, 255.0, 7.3e4])
def test_the_scale_of_images_is_that_of_their_values(top):
  rng = np.random.default_rng(0)
  x, y = rng.integers(17, size=(20, 4, 4)), np.arange(20) % 2
  images = x * (top / 16)
  if top == 255:
    images = np.rint(images)
  made = frame.make(images, y)
  assert 0.2 * top < made.scale.min() <= made.scale.max() <= top
  u = made.pack(images, y)
  low, high = made.limits
  assert np.allclose([u.min(), u.max()], [low, high], atol=1e-5)
  back, _ = made.unpack(u[3], y[3])
  assert np.allclose(back, images[3], rtol=1e-5, atol=1e-5 * top)


def test_orders_of_records():
  u = np.array([[0.0], [0.1], [9.0], [0.2]])
  assert list(choice.choose("atypical", u, None))[0] == 2
  assert list(choice.choose("highest_loss", u, 1.0, np.array([1, 4, 2, 3])))[
    :2
  ] == [1, 3]
  assert list(choice.choose("all", u, None)) == [0, 1, 2, 3]
