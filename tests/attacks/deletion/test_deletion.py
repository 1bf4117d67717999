"""A deleted record out of two models, and what is said of it."""

import jax
import numpy as np
import optax
import pytest
from sklearn import datasets, linear_model, pipeline, preprocessing

from informed_recon import models, prng
from informed_recon.attacks import deletion
from informed_recon.training import stationary
from informed_recon.types import UserError


def table(n, d, seed=0):
  rng = np.random.default_rng(seed)
  mix = np.random.default_rng(1).normal(size=(d, d)) / np.sqrt(d)
  x = rng.normal(size=(n, d)) @ mix + 0.3
  h = x @ np.linspace(1, -1, d)
  return x, h + rng.normal(size=n), rng.uniform(size=n) < 1 / (1 + np.exp(-h))


def pair(estimator, x, y, i=0):
  rest = np.delete(x, i, 0), np.delete(y, i, 0)
  fit = (estimator.__class__(**estimator.get_params()) for _ in range(2))
  return next(fit).fit(x, y), next(fit).fit(*rest), rest


def gram(x):
  x = np.hstack([x, np.ones((len(x), 1))])
  return x.T @ x


@pytest.mark.parametrize(
  "estimator", [linear_model.LinearRegression(), linear_model.Ridge(2.0)]
)
def test_exact_where_the_statistic_is_known(estimator):
  x, y, _ = table(200, 6)
  before, after, (rest, _) = pair(estimator, x, y)
  found = deletion.reconstruct(
    before, after, *table(50, 6, 7)[:2], records=200, gram=gram(rest)
  )
  np.testing.assert_allclose(found.x, x[0], rtol=1e-7)
  assert found.y == pytest.approx(y[0])
  assert not found.checked and not found.identifiable


def test_several_outputs_and_a_wrong_statistic():
  """Every Gram matrix leaves a matrix of rank one: nothing checks it."""
  x, y, z = table(200, 6)
  y = np.stack([y, x[:, 0] ** 2, z], 1)
  before, after, (rest, _) = pair(linear_model.Ridge(), x, y)
  public = table(50, 6, 7)[0]
  given = before, after, public, np.zeros((50, 3))
  right, wrong = (
    deletion.reconstruct(*given, records=200, gram=g)
    for g in (gram(rest), gram(public) * 199 / 50)
  )
  np.testing.assert_allclose(right.x, x[0], rtol=1e-7)
  np.testing.assert_allclose(right.y, y[0], atol=1e-7)
  assert not np.allclose(wrong.x, x[0], rtol=0.01)
  assert not wrong.identifiable and not wrong.checked


def test_the_stated_error_is_that_of_two_samples_of_the_distribution():
  n, d = 1000, 5
  x, _, y = table(n, d)
  public, _, labels = table(4000, d, 7)
  model = linear_model.LogisticRegression(tol=1e-8)
  ratios, shares = [], []
  for i in range(8):
    before, after, _ = pair(model, x, y, i)
    found = deletion.reconstruct(before, after, public, labels, records=n)
    ratios.append(np.mean((found.x - x[i]) ** 2 / found.error**2))
    shares.append(np.mean(found.error**2 / public.var(0)))
    assert not found.identifiable  # noise is left
  assert 0.3 < np.mean(ratios) < 2.5
  theory = d * (1 / n + 1 / len(public))
  assert 0.2 * theory < np.median(shares) < 5 * theory


def test_digits_nearer_than_any_public_one():
  x, y = datasets.load_digits(return_X_y=True)
  order = np.random.default_rng(42).permutation(len(x))
  (x, public), (y, labels) = (np.split(a[order], [900]) for a in (x / 16, y))
  model = linear_model.LogisticRegression(max_iter=10_000, tol=1e-8)
  left = np.zeros((2, 65, 10))  # of so strict a solver
  rights, nearer = 0, 0
  for i in range(4):
    before, after, _ = pair(model, x, y, i)
    found = deletion.reconstruct(
      *(before, after, public, labels), records=900, left=left
    )
    rights += found.y == y[i]
    oracle = np.mean((public - x[i]) ** 2, 1).min()
    nearer += np.mean((found.x - x[i]) ** 2) < oracle
  assert rights == 4 and nearer >= 3


def test_what_a_solver_leaves_is_part_of_the_error():
  x, _, y = table(400, 5)
  public, _, labels = table(400, 5, 7)
  errors = []
  for tol in (1e-8, 0.1):
    model = linear_model.LogisticRegression(tol=tol)
    before, after, _ = pair(model, x, y)
    given = before, after, public, labels
    found = deletion.reconstruct(*given, records=400)
    errors.append(np.sqrt(np.mean(found.error**2)))
  assert errors[1] > 1.5 * errors[0]


def test_models_that_differ_in_more_than_a_record_are_told():
  x, _, _ = table(2000, 6)
  rng = np.random.default_rng(3)
  y = np.argmax(x[:, :3] + rng.gumbel(size=(2000, 3)), 1)
  model = linear_model.LogisticRegression(tol=1e-8)
  before, after, _ = pair(model, x[:1000], y[:1000], slice(0, 40))
  found = deletion.reconstruct(before, after, x[1000:], y[1000:], records=1000)
  assert "not one record's" in found.message and not found.identifiable


def test_a_scaler_fitted_anew_gives_every_feature():
  x, _, y = table(300, 5)

  def fit(rows, labels):
    scaler = preprocessing.StandardScaler()
    return pipeline.make_pipeline(
      scaler, linear_model.LogisticRegression()
    ).fit(rows, labels)

  found = deletion.reconstruct(
    *(fit(x, y), fit(x[1:], y[1:])), *table(50, 5, 7)[::2], records=300
  )
  np.testing.assert_allclose(found.x, x[0], atol=1e-10)
  assert not found.identifiable and "scalers" in found.message


def test_network_trained_on_without_the_record():
  x, _, y = table(800, 6)
  public, _, labels = table(4000, 6, 7)
  y, labels = y.astype(np.int32), labels.astype(np.int32)
  model = models.build("mlp", 2, (6,), dict(width=4, activation="tanh"))

  def loss(params, x, y):
    logits = model.apply(params, x[None])[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  start = model.init(prng.root(0))
  before, _ = stationary.minimise(loss, start, x, y, l2=1e-2)
  after, _ = stationary.minimise(loss, before, x[1:], y[1:], l2=1e-2)
  before, after = (jax.tree.map(np.asarray, p) for p in (before, after))
  found = deletion.reconstruct_network(
    *(loss, before, after, public, labels),
    records=800,
    l2=1e-2,
    bounds=None,
  )
  assert found.y == y[0]
  assert np.mean((found.x - x[0]) ** 2 / found.error**2) < 9
  assert np.mean(found.error**2) < 0.1 * public.var()


def test_baseline_is_the_record_that_moves_most():
  before = np.zeros((5, 2))
  after = before + np.array([0, 0.1, -3, 1, 0])[:, None]
  assert deletion.most_changed(before, after) == 2


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (dict(records=2), "records must be"),
    (dict(records=10.5), "records must be"),
    (dict(after=linear_model.Ridge()), "same estimator"),
    (dict(), "same model"),
    (
      dict(gram=np.eye(6), after=linear_model.LogisticRegression(C=2.0)),
      "linear and ridge",
    ),
    (
      dict(before=linear_model.LogisticRegression(class_weight="balanced")),
      "class weights",
    ),
  ],
)
def test_refuses_in_one_line(change, message):
  x, _, y = table(50, 5)
  given = dict(records=50) | change
  for name in ("before", "after"):
    model = given.pop(name, linear_model.LogisticRegression())
    given[name] = model.fit(x, y)
  with pytest.raises(UserError, match=message):
    deletion.reconstruct(given.pop("before"), given.pop("after"), x, y, **given)
