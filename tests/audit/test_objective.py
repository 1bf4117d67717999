"""A release whose objective is known, and one whose head is convex."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LogisticRegression, Ridge

from informed_recon.audit import released
from informed_recon.training import stationary
from informed_recon.types import UserError

_x, _y = load_digits(return_X_y=True)
_pick = np.flatnonzero(_y < 3)[:60]
X, Y = _x[_pick].astype(np.float32) / 16, _y[_pick]
L2 = 1e-2


def loss(params, x, y):
  logits = jnp.tanh(x.ravel() @ params["W"] + params["b"]) @ params["V"]
  logits = logits + params["c"]
  return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def test_records_from_the_objective_alone():
  keys = jax.random.split(jax.random.key(5))
  params = dict(
    W=jax.random.normal(keys[0], (64, 8)) / 8,
    b=jnp.zeros(8),
    V=jax.random.normal(keys[1], (8, 3)) / 3,
    c=jnp.zeros(3),
  )
  params, _ = stationary.minimise(loss, params, X, Y, l2=L2, tolerance=1e-10)
  params = jax.tree.map(np.asarray, params)
  found = released.audit_released(
    params, X, Y, loss=loss, l2=L2, records=[3, 17]
  )
  table = found.table
  assert sorted(table.record) == [3, 17]
  assert set(table.attack) == {"stationarity"}
  assert table.confident.all() and (table.mse < 1e-6).all()
  assert "Stationarity" in found.statement
  wrong = released.audit_released(
    params, X, Y, loss=loss, l2=2 * L2, records=[3]
  )
  assert not wrong.table.confident.any()
  assert "No verdict" in wrong.statement and "l2" in wrong.statement
  exact = released.audit_released(params, X, Y, loss=loss, l2=0, records=[3])
  assert "Stationarity was impossible" in exact.statement  # 0 is a value of l2
  with pytest.raises(UserError, match="params must be"):
    released.audit_released({}, X, Y, loss=loss, l2=L2, records=[3])


def test_features_from_a_convex_head():
  model = LogisticRegression(
    solver="newton-cholesky", tol=1e-12, max_iter=500
  ).fit(X, Y)
  head = released.Head(
    model.coef_, model.intercept_, lambda x: np.asarray(x), 1.0
  )
  found = released.audit_released(
    dict(w=model.coef_), X, Y, head=head, records=[0, 30]
  )
  assert found.table.confident.any()
  assert (found.table.mse[found.table.confident] < 1e-8).all()
  wrong = released.audit_released(
    dict(w=model.coef_), X, Y, head=head._replace(l2=0.1), records=[0]
  )
  assert "No verdict" in wrong.statement
  assert "typical records" in wrong.statement


def test_a_fitted_estimator_states_its_objective_itself():
  x, y = load_diabetes(return_X_y=True)
  found = released.audit_released(Ridge().fit(x, y), x, y, records=[0, 7])
  assert found.table.confident.all() and (found.table.mse < 1e-12).all()
  early = LogisticRegression(max_iter=3).fit(X, Y)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    lost = released.audit_released(early, X, Y, records=[0])
  assert not lost.table.confident.any()
  assert "Not vouched for, 1 of 1 records" in lost.statement
