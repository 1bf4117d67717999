"""What is known of columns sharpens and checks, and never misleads."""

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from informed_recon.attacks import convex
from informed_recon.attacks import sklearn as attack
from informed_recon.attacks.convex import Columns, columns, grid, leave_one_out
from informed_recon.attacks.sklearn import transformers
from informed_recon.types import UserError

RNG = np.random.default_rng(0)
N = 120
AGE, KIDS = RNG.integers(18, 90, N), RNG.integers(0, 5, N)
GROUP = np.eye(3)[RNG.integers(0, 3, N)]
# Two columns of no grid, one of them a sum that says nothing new.
X = np.c_[AGE, KIDS, GROUP, RNG.lognormal(3, 0.5, N), RNG.normal(25, 4, N)]
H = 0.02 * AGE + 0.3 * KIDS + GROUP @ [0.0, 0.5, 1.0] + 0.01 * X[:, 5]
Y = H + RNG.normal(size=N)
WEIGHT = RNG.uniform(0.8, 1.2, N)
KNOWS = Columns(whole=[0, 1], one_hot=[[2, 3, 4]], bounds={5: (0, 200)})


def without(i):
  return np.delete(X, i, 0), np.delete(Y, i)


def off(answer, i):
  return np.sqrt(np.mean(((answer.x - X[i]) / X.std(0)) ** 2))


def continuous(i):
  """The model of records without a grid, which nothing else checks."""
  return np.delete(X[:, 5:], i, 0), np.delete(Y, i)


def test_whole_and_one_hot_columns_notice_weights():
  model = linear_model.Ridge().fit(X, Y, sample_weight=WEIGHT)
  for i in (3, 40):
    answer = attack.reconstruct(model, *without(i), columns=KNOWS)
    assert not answer.identifiable and "column" in answer.message
    told = attack.reconstruct(
      model,
      *without(i),
      sample_weight=np.delete(WEIGHT, i),
      target_weight=WEIGHT[i],
      columns=KNOWS,
    )
    assert told.identifiable and told.checked and off(told, i) < 1e-6
    np.testing.assert_array_equal(told.x[:5], X[i, :5])  # exactly
    np.testing.assert_array_equal(told.error[:5], 0)


def test_decimals_of_the_table_notice_weights():
  """Nobody said that ages are whole numbers; the known ones are."""
  model = linear_model.Ridge().fit(X, Y)
  answer = attack.reconstruct(model, *without(3))
  assert answer.identifiable and answer.checked and not answer.message
  model.fit(X, Y, sample_weight=WEIGHT)
  answer = attack.reconstruct(model, *without(3))
  assert not answer.identifiable and "records weighted?" in answer.message
  # Of columns without a grid nothing can tell, and the answer says so.
  model.fit(X[:, 5:], Y, sample_weight=WEIGHT)
  answer = attack.reconstruct(model, *continuous(3))
  assert not answer.checked and "not checked" in answer.message


@pytest.mark.parametrize("weight", [None, WEIGHT[:50]])
def test_many_models_and_audits_hold_the_grid_too(weight):
  """Each answer is the one that an attack of its own gives."""
  x, y = X[:50], Y[:50]
  model = linear_model.Ridge().fit(x, y, sample_weight=weight)
  known = np.delete(x, 3, 0), np.delete(y, 3)
  released = model.coef_, model.intercept_
  for told in (None, KNOWS):
    given = dict(l2=1.0, columns=told)
    (many,) = convex.reconstruct_many(
      "linear", *(np.array([a]) for a in released), *known, **given
    )
    one = convex.reconstruct("linear", *released, *known, **given)
    assert many.identifiable == one.identifiable == (weight is None)
    assert many.checked and one.checked and many.message == one.message
    np.testing.assert_allclose(many.x, one.x, rtol=1e-9)
  for found in (
    leave_one_out.audit("linear", *released, x, y, l2=1.0),
    attack.audit(model, x, y),
  ):
    assert found[3].identifiable == (weight is None)
    assert found[3].checked == (weight is None)
    # Of what nothing checks, the message says so.
    assert ("not checked" in found[3].message) == (weight is not None)


def test_columns_are_refused_where_they_are_not_taken():
  with pytest.raises(UserError, match="columns"):
    leave_one_out.audit("linear", np.ones(7), 0.0, X, Y, columns=KNOWS)


def test_bounds_of_a_lost_column_are_no_contradiction():
  z = (X[:, 5:] - X[:, 5:].mean(0)) / X[:, 5:].std(0)
  y = z[:, 0] + 0.1 * Y
  model = linear_model.Lasso(0.1, tol=1e-12).fit(z, y)
  assert model.coef_[1] == 0
  known = np.delete(z, 3, 0), np.delete(y, 3)
  for bounds in ({}, {1: (-10, 10)}):
    told = Columns(bounds=bounds)
    assert attack.reconstruct(model, *known, columns=told).identifiable


@pytest.mark.parametrize(
  "column,step",
  [
    (AGE, 1.0),
    (np.round(X[:, 6], 2), 0.01),
    ((AGE - AGE.mean()) / AGE.std() + 100, 1 / AGE.std()),
    ((GROUP[:, 0] - 0.3) / 0.7, 1 / 0.7),
    (X[:, 6], 0.0),
    (np.eye(N)[0] * 0.7, 0.0),  # one record alone says nothing
    (np.zeros(N), 0.0),
  ],
)
def test_the_grid_of_a_column(column, step):
  assert grid._grid(np.asarray(column, float))[1] == pytest.approx(step)


def test_known_columns_sharpen_a_solver_that_stopped():
  """The better, the more of the record is known."""
  z = (X - X.mean(0)) / X.std(0)
  model = linear_model.LogisticRegression(tol=1e-3, solver="newton-cg")
  model.fit(z, Y > np.median(Y))
  worse, better = [], []
  for i in range(0, N, 20):
    known = np.delete(z, i, 0), np.delete(Y > np.median(Y), i)
    found = [
      attack.reconstruct(model, *known, columns=Columns(known=which))
      for which in ({}, {j: z[i, j] for j in (0, 1, 5)})
    ]
    errors = [np.abs(a.x - z[i])[[2, 3, 4, 6]].mean() for a in found]
    worse, better = worse + errors[:1], better + errors[1:]
  assert np.median(better) < np.median(worse)


def test_a_known_column_gives_the_length_without_intercept():
  model = linear_model.Ridge(fit_intercept=False).fit(X, Y)
  free = attack.reconstruct(model, *without(3))
  assert not free.identifiable
  given = Columns(known={0: X[3, 0], 6: X[3, 6]})
  answer = attack.reconstruct(model, *without(3), columns=given)
  assert answer.identifiable and answer.checked, answer.message
  np.testing.assert_allclose(answer.x, X[3], rtol=1e-6, atol=1e-9)
  np.testing.assert_allclose(answer.y, Y[3], rtol=1e-6)
  wrong = Columns(known={0: X[3, 0], 6: X[3, 6] + 1})
  answer = attack.reconstruct(model, *without(3), columns=wrong)
  assert not answer.identifiable and "column 6" in answer.message


def test_whole_numbers_do_not_choose_between_mirror_images():
  """(x, 0) and (-x, 1) explain a logistic model without intercept alike."""
  model = linear_model.LogisticRegression(
    fit_intercept=False, tol=1e-10, max_iter=5000, solver="newton-cholesky"
  ).fit(X, Y > np.median(Y))
  for i in range(0, 30, 5):
    known = np.delete(X, i, 0), np.delete(Y > np.median(Y), i)
    answer = attack.reconstruct(model, *known, columns=Columns(whole=[0, 1]))
    assert not answer.identifiable or off(answer, i) < 0.03
    given = Columns(known={0: X[i, 0]}, whole=[1])
    answer = attack.reconstruct(model, *known, columns=given)
    assert answer.identifiable and off(answer, i) < 0.03


def test_columns_that_contradict_the_weights():
  model = linear_model.Ridge().fit(X, Y)
  given = (model.coef_, model.intercept_, *without(3))
  for wrong, words in (
    (Columns(known={6: X[3, 6] + 0.01}), "column 6"),
    (Columns(bounds={6: (0.0, 1.0)}), "outside its bounds"),
    (Columns(whole=[6]), "no whole number"),
    (Columns(one_hot=[[2, 3]]), "one-hot"),
  ):
    answer = convex.reconstruct("linear", *given, l2=1.0, columns=wrong)
    right = words == "one-hot" and X[3, 4] == 0
    assert right or (not answer.identifiable and words in answer.message)


def test_columns_that_follow_from_others_are_no_evidence():
  """The third of a one-hot group, and what is constant, agree by themselves."""
  table = dict(enumerate([AGE, GROUP[:, 0], GROUP[:, 1], GROUP[:, 2], 0 * AGE]))
  table = {j: np.asarray(c, float) for j, c in table.items()}
  assert columns.independent(table) == [0, 1, 2]


@pytest.mark.parametrize(
  "given,words",
  [
    (Columns(whole=["age"]), "no column 'age'"),
    (Columns(known={9: 1.0}), "no column 9"),
    (Columns(bounds={0: (2, 1)}), "low <= high"),
    (Columns(known={0: "old"}), "numbers"),
    ({0: 1.0}, "Columns"),
    (Columns(known=[1.0]), "dicts"),
    (Columns(one_hot=[1, 2]), "lists"),
  ],
)
def test_bad_columns_are_one_line(given, words):
  with pytest.raises(UserError, match=words) as error:
    convex.reconstruct("linear", np.ones(7), 0.0, X, Y, columns=given)
  assert "\n" not in str(error.value)


def test_steps_that_treat_columns_apart():
  assert transformers.by_column([], X) is dict
  assert transformers.by_column([linear_model.Ridge()], X) is None


@pytest.mark.parametrize("labels", [True, False])
def test_which_of_these_people(labels):
  """The one it was is found; of a list without it none is vouched for."""
  model = linear_model.Ridge().fit(X, Y)
  for i in (3, 40):
    people = np.vstack([X[i], X[50:70] + RNG.normal(size=(20, 7))])
    y = np.append(Y[i], Y[50:70]) if labels else None
    found = attack.identify(model, *without(i), people, y)
    assert found.best == 0 and found.identifiable
    assert found.posterior[0] > 0.999
    y = None if y is None else y[1:]
    absent = attack.identify(model, *without(i), people[1:], y)
    assert not absent.identifiable and "none of" in absent.message
  with pytest.raises(UserError, match="prior"):
    attack.identify(model, *without(3), people, prior=[1.0])


def test_which_of_these_people_where_the_weights_are_rounded():
  """A posterior spreads over those that rounding does not tell apart."""
  model = linear_model.Ridge().fit(X, Y)
  w, b = np.round(model.coef_, 3), np.round(model.intercept_, 3)
  people = np.vstack([X[3], X[3] + 1e-6, X[40] + 5.0])
  found = convex.identify("linear", w, b, *without(3), people, l2=1.0)
  assert not found.identifiable and "as well" in found.message
  np.testing.assert_allclose(*found.posterior[:2], rtol=1e-3)


@pytest.mark.parametrize("seed", [19, 23, 25])
def test_a_list_without_the_record_where_the_solver_stopped_early(seed):
  """Errors so large that known records explain the weights tell nobody."""
  x, y = load_iris(return_X_y=True)
  x = StandardScaler().fit_transform(x)
  order = np.random.default_rng(seed).permutation(len(x))
  fitted, people = order[:75], order[75:105]
  model = linear_model.LogisticRegression(max_iter=3000)
  model.fit(x[fitted], y[fitted])
  known = x[fitted[1:]], y[fitted[1:]]
  found = attack.identify(model, *known, x[people], y[people])
  assert not found.identifiable and "known records" in found.message
