"""Closed-form attack against models that scipy and scikit-learn fitted."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from informed_recon.attacks.convex import glm, trust
from informed_recon.attacks.convex.closed_form import (
  reconstruct,
  reconstruct_many,
)
from informed_recon.types import UserError

# d loss / d h, written apart from the package: rows h (n, K), y (n, K).
RESIDUALS = {
  "linear": lambda h, y: h - y,
  "logistic": lambda h, y: special.expit(h) - y,
  "softmax": lambda h, y: special.softmax(h, axis=1) - y,
  "poisson": lambda h, y: np.exp(h) - y,
  "gamma": lambda h, y: 1.0 - y * np.exp(-h),
  "squared_hinge": lambda h, y: -2.0 * y * np.maximum(0.0, 1.0 - y * h),
}


def fit(family, x, y, weight, l2, intercept=True, penalise=False):
  """Reference fit: scipy's Newton-type root of the gradient, from BFGS."""
  n, K = y.shape
  z = np.c_[x, np.ones(n)] if intercept else x
  penalty = np.full(z.shape[1], l2)
  if intercept and not penalise:
    penalty[-1] = 0.0

  def gradient(flat):
    theta = flat.reshape(K, -1)
    r = RESIDUALS[family](z @ theta.T, y) * weight[:, None]
    return (r.T @ z + penalty * theta).ravel()

  def curvature(flat):
    step = 1e-6
    eye = np.eye(flat.size)
    columns = [
      (gradient(flat + step * e) - gradient(flat - step * e)) / (2 * step)
      for e in eye
    ]
    # Softmax's intercepts may shift together; hold them.
    return np.stack(columns, axis=1) + 1e-9 * eye

  theta = np.zeros(K * z.shape[1])
  size = np.linalg.norm(gradient(theta))
  for _ in range(200):
    move = np.linalg.solve(curvature(theta), gradient(theta))
    length = 1.0
    while length > 1e-6:
      tried = np.linalg.norm(gradient(theta - length * move))
      if tried < size:
        break
      length /= 2
    else:
      break
    theta, size = theta - length * move, tried
  assert size < 1e-9
  theta = theta.reshape(K, -1)
  return (theta[:, :-1], theta[:, -1]) if intercept else (theta, None)


def sample(family, rng, n, d, K):
  """Records with responses; the last one is the target."""
  x = rng.normal(size=(n, d))
  h = x @ rng.normal(size=(d, K)) / np.sqrt(d)
  if family == "linear":
    y = h + rng.normal(size=h.shape)
    return x, y, (y[:, 0] if K == 1 else y)
  if family == "poisson":
    y = rng.poisson(np.exp(h)).astype(float)
    return x, y, y[:, 0]
  if family == "gamma":
    y = rng.gamma(2.0, np.exp(h) / 2.0)
    return x, y, y[:, 0]
  if K == 1:
    labels = (h[:, 0] + rng.logistic(size=n) > 0).astype(int)
    labels[:2] = [0, 1]
    y = labels[:, None].astype(float)
  else:
    labels = np.argmax(h + rng.gumbel(size=h.shape), axis=1)
    labels[:K] = np.arange(K)
    y = np.eye(K)[labels]
  return x, (2 * y - 1 if family == "squared_hinge" else y), labels


CASES = [
  ("linear", 1),
  ("linear", 3),
  ("logistic", 1),
  ("logistic", 3),
  ("softmax", 4),
  ("poisson", 1),
  ("gamma", 1),
  ("squared_hinge", 1),
  ("squared_hinge", 3),
]


@pytest.mark.parametrize("family,K", CASES)
@pytest.mark.parametrize("penalise", [False, True])
def test_recovers_the_target_of_a_reference_fit(family, K, penalise):
  assert not jax.config.jax_enable_x64  # float64 must not hang on the flag
  rng = np.random.default_rng(3)
  x, y, labels = sample(family, rng, 60, 5, K)
  weight = rng.uniform(0.5, 2.0, size=60)
  if family == "squared_hinge":
    x[-1] *= 0.1  # inside the margin
  l2 = 0.7
  weights, intercept = fit(family, x, y, weight, l2, penalise=penalise)
  result = reconstruct(
    family,
    weights,
    intercept,
    x[:-1],
    labels[:-1],
    l2=l2,
    penalise_intercept=penalise,
    sample_weight=weight[:-1],
    target_weight=weight[-1],
  )
  assert result.x.dtype == np.float64
  assert result.identifiable, result.message
  assert result.residual < 1e-6
  np.testing.assert_allclose(result.x, x[-1], rtol=1e-6, atol=1e-6)
  np.testing.assert_allclose(result.y, labels[-1], rtol=1e-6, atol=1e-6)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
  case=st.sampled_from(CASES[2:7]),
  shape=st.sampled_from([(60, 5), (12, 1)]),  # the first has its programs
  l2=st.floats(1e-2, 10.0),
  target_weight=st.floats(0.3, 3.0),
  seed=st.integers(0, 2**16),
)
def test_trusted_records_are_right(case, shape, l2, target_weight, seed):
  (family, K), (n, d) = case, shape
  x, y, labels = sample(family, np.random.default_rng(seed), n, d, K)
  weight = np.ones(n)
  weight[-1] = target_weight
  weights, intercept = fit(family, x, y, weight, l2)
  result = reconstruct(
    family,
    weights,
    intercept,
    x[:-1],
    labels[:-1],
    l2=l2,
    target_weight=target_weight,
  )
  if result.identifiable:
    np.testing.assert_allclose(result.x, x[-1], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(result.y, labels[-1], rtol=1e-3, atol=1e-3)
  else:
    # Only records that the model hardly feels may be given up.
    h = weights @ x[-1] + intercept
    r = RESIDUALS[family](h[None], y[-1:])
    assert np.linalg.norm(r) < 1e-2


def test_gamma_with_its_canonical_link():
  # Two groups and an indicator fit exactly: 1 / h is the group's mean.
  x = np.array([[0.0], [0.0], [1.0], [1.0], [1.0]])
  y = np.array([1.0, 3.0, 4.0, 5.0, 9.0])
  intercept, weights = 1 / 2.0, 1 / 6.0 - 1 / 2.0
  result = reconstruct(
    "gamma", [weights], intercept, x[:-1], y[:-1], link="inverse"
  )
  np.testing.assert_allclose(result.x, [1.0], rtol=1e-12)
  np.testing.assert_allclose(result.y, 9.0, rtol=1e-12)
  wrong = reconstruct("gamma", [weights], intercept, x[:-1], y[:-1])
  assert abs(wrong.y - 9.0) > 0.1  # the link matters


@pytest.mark.parametrize("family,K", [("logistic", 1), ("softmax", 4)])
def test_weights_rounded_to_float32(family, K):
  residuals = []
  for seed in range(4):
    rng = np.random.default_rng(seed)
    # Rounding every weight moves every record's gradient: many, large errors.
    n = 8000
    x, y, labels = sample(family, rng, n, 6, K)
    x = x.astype(np.float32)
    weights, intercept = fit(family, x.astype(float), y, np.ones(n), 1.0)
    exact = reconstruct(family, weights, intercept, x[:-1], labels[:-1], l2=1.0)
    rounded = reconstruct(
      family,
      weights.astype(np.float32),
      intercept.astype(np.float32),
      x[:-1],
      labels[:-1],
      l2=1.0,
    )
    assert exact.identifiable and rounded.identifiable
    assert np.abs(exact.x - x[-1]).max() < 1e-9
    error = np.abs(rounded.x - x[-1]).max()
    assert 1e-6 < error < 1e-2
    assert rounded.y == exact.y == labels[-1]
    residuals.append(rounded.residual)
  # What float64 weights would not be trusted with.
  assert max(residuals) > trust.TOLERANCE


def test_weight_shapes_and_batch_agree_with_one_by_one():
  rng = np.random.default_rng(1)
  x, y, labels = sample("logistic", rng, 40, 3, 1)
  released = []
  for _ in range(3):
    x[-1] = rng.normal(size=3)
    released.append(fit("logistic", x, y, np.ones(40), 1.0))
  known = (x[:-1], labels[:-1])
  single = [reconstruct("logistic", w, b, *known, l2=1.0) for w, b in released]
  flat = reconstruct(
    "logistic", released[0][0][0], released[0][1][0], *known, l2=1.0
  )
  many = reconstruct_many(
    "logistic",
    np.stack([w for w, _ in released]),
    np.stack([b for _, b in released]),
    *known,
    l2=1.0,
    chunk=2,
  )
  np.testing.assert_array_equal(flat.x, single[0].x)
  for one, other in zip(single, many, strict=True):
    np.testing.assert_allclose(one.x, other.x, rtol=1e-10)
    assert one.identifiable and other.identifiable and one.y == other.y


def test_no_intercept_returns_all_roots():
  rng = np.random.default_rng(2)
  x, y, labels = sample("logistic", rng, 50, 4, 1)
  weights, _ = fit("logistic", x, y, np.ones(50), 1.0, intercept=False)
  known = (weights, None, x[:-1], labels[:-1])

  def found(result):
    return [y for c, y in result.candidates if np.allclose(c, x[-1], atol=1e-6)]

  free = reconstruct("logistic", *known, l2=1.0)
  assert not free.identifiable and len(free.candidates) >= 2
  assert found(free) == [labels[-1]]
  # Every candidate, mirrored and with the other label, is one too.
  for c, label in free.candidates:
    assert any(
      other == 1 - label and np.allclose(mirrored, -c, rtol=1e-9)
      for mirrored, other in free.candidates
    )
  for extra in (
    {"known_label": labels[-1]},
    {"known_norm": np.linalg.norm(x[-1])},
  ):
    some = reconstruct("logistic", *known, l2=1.0, **extra)
    assert found(some) == [labels[-1]]
    assert (
      len(some.candidates) < len(free.candidates) or len(free.candidates) == 2
    )
  both = reconstruct(
    "logistic",
    *known,
    l2=1.0,
    known_label=labels[-1],
    known_norm=np.linalg.norm(x[-1]),
  )
  assert both.identifiable
  np.testing.assert_allclose(both.x, x[-1], atol=1e-8)


@pytest.mark.parametrize(
  "family,K", [("linear", 1), ("poisson", 1), ("gamma", 1), ("softmax", 4)]
)
def test_no_intercept_with_a_known_label(family, K):
  rng = np.random.default_rng(5)
  x, y, labels = sample(family, rng, 50, 4, K)
  weights, _ = fit(family, x, y, np.ones(50), 0.5, intercept=False)
  result = reconstruct(
    family, weights, None, x[:-1], labels[:-1], l2=0.5, known_label=labels[-1]
  )
  assert any(np.allclose(c, x[-1], atol=1e-6) for c, _ in result.candidates)
  assert result.identifiable == (len(result.candidates) == 1)
  if K == 1:
    bare = reconstruct("linear", weights, None, x[:-1], labels[:-1], l2=0.5)
    assert not bare.identifiable and "direction" in bare.message


def test_no_intercept_softmax_needs_no_label():
  # Its K equations fix the length and the label of one record only.
  rng = np.random.default_rng(5)
  x, y, labels = sample("softmax", rng, 50, 4, 4)
  weights, _ = fit("softmax", x, y, np.ones(50), 0.5, intercept=False)
  result = reconstruct("softmax", weights, None, x[:-1], labels[:-1], l2=0.5)
  assert result.identifiable, result.message
  np.testing.assert_allclose(result.x, x[-1], atol=1e-8)
  assert result.y == labels[-1]


def test_perfectly_fitted_target_is_reported():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(30, 3))
  y = x @ [1.0, -2.0, 0.5] + 0.3 + rng.normal(size=30)
  weights, intercept = fit("linear", x[:-1], y[:-1, None], np.ones(29), 1.0)
  y[-1] = (x[-1:] @ weights.T + intercept).item()  # changes nothing
  result = reconstruct("linear", weights, intercept, x[:-1], y[:-1], l2=1.0)
  assert not result.identifiable and "rounding" in result.message


def test_flat_loss_is_reported():
  rng = np.random.default_rng(0)
  x, y, labels = sample("squared_hinge", rng, 30, 3, 1)
  weights, intercept = fit("squared_hinge", x, y, np.ones(30), 1.0)
  # A record far outside the margin has no gradient: it could be anything.
  result = reconstruct("squared_hinge", weights, intercept, x, labels, l2=1.0)
  assert not result.identifiable


@pytest.mark.parametrize("family,K", [("logistic", 1), ("softmax", 4)])
def test_weights_off_the_optimum_are_reported(family, K):
  rng = np.random.default_rng(4)
  x, y, labels = sample(family, rng, 60, 5, K)
  weights, intercept = fit(family, x, y, np.ones(60), 1.0)
  for trial in range(50):
    moved = weights + 10.0 ** rng.uniform(-4, 0) * rng.normal(
      size=weights.shape
    )
    result = reconstruct(family, moved, intercept, x[:-1], labels[:-1], l2=1.0)
    assert not result.identifiable, trial
    assert result.message


def test_whole_number_responses_check_convergence():
  rng = np.random.default_rng(4)
  x, y, counts = sample("poisson", rng, 60, 5, 1)
  weights, intercept = fit("poisson", x, y, np.ones(60), 1.0)
  assert reconstruct(
    "poisson", weights, intercept, x[:-1], counts[:-1], l2=1.0
  ).identifiable
  moved = weights + 1e-3
  assert not reconstruct(
    "poisson", moved, intercept, x[:-1], counts[:-1], l2=1.0
  ).identifiable


def test_known_label_and_norm_contradicting_the_weights():
  rng = np.random.default_rng(3)
  x, y, labels = sample("logistic", rng, 60, 5, 1)
  weights, intercept = fit("logistic", x, y, np.ones(60), 1.0)
  args = ("logistic", weights, intercept, x[:-1], labels[:-1])
  assert reconstruct(*args, l2=1.0, known_label=labels[-1]).identifiable
  assert not reconstruct(*args, l2=1.0, known_label=1 - labels[-1]).identifiable
  norm = np.linalg.norm(x[-1])
  assert reconstruct(*args, l2=1.0, known_norm=norm).identifiable
  assert not reconstruct(*args, l2=1.0, known_norm=2 * norm).identifiable


X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize(
  "change,words",
  [
    ({"family": "probit"}, "unknown family"),
    ({"link": "cauchit"}, "unknown link"),
    ({"known_x": X[:, :1]}, "known_x"),
    ({"known_x": X[:5]}, "records"),
    ({"known_x": np.where(X == 3, np.nan, X)}, "NaN"),
    ({"weights": [np.inf, 1.0]}, "weights"),
    ({"weights": np.ones((1, 1, 2))}, "weights"),
    ({"weights": [[1.0, 2.0], [3.0]]}, "weights"),
    ({"known_y": None}, "known_y"),
    ({"known_y": np.array(None)}, "known_y"),
    ({"known_y": [0, [1], 0, 1, 1, 0]}, "known_y"),
    ({"known_y": [0, None, 0, 1, 1, 0]}, "known_y"),
    ({"label_set": [[0, 1], [1, 0]]}, "label_set"),
    ({"known_label": [[0], [1, 0]]}, "known_label"),
    ({"intercept": [1.0, 2.0]}, "intercept"),
    ({"known_y": np.array([0, 1, 2, 1, 1, 0])}, "classes"),
    ({"label_set": [0, 3]}, "labels"),
    ({"known_label": 7}, "known_label"),
    ({"sample_weight": np.ones(5)}, "sample_weight"),
    ({"sample_weight": -np.ones(6)}, "sample_weight"),
    ({"target_weight": 0.0}, "target_weight"),
    ({"l2": -1.0}, "l2"),
    ({"known_norm": -1.0}, "known_norm"),
    ({"family": "softmax"}, "softmax"),
    ({"family": "poisson", "known_y": -Y}, "below 0"),
    ({"family": "linear", "known_y": np.ones((6, 2))}, "known_y"),
  ],
)
def test_bad_input_is_one_clear_line(change, words):
  arguments = {
    "family": "logistic",
    "weights": [1.0, 2.0],
    "intercept": 0.0,
    "known_x": X,
    "known_y": Y,
  } | change
  with pytest.raises(UserError, match=words) as error:
    reconstruct(**arguments)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", sorted(glm.FAMILIES))
def test_residual_is_the_derivative_of_the_loss(family):
  member = glm.get(family)
  rng = np.random.default_rng(0)
  K = 3 if family == "softmax" else 1
  _, y, _ = sample(family, rng, 8, 2, K)
  for one in y:
    h = rng.normal(size=K)
    numeric = optimize.approx_fprime(
      h, lambda h, y=one: float(member.loss(h, y)), 1e-3
    )
    np.testing.assert_allclose(
      member.residual(h, one), numeric, rtol=2e-2, atol=2e-2
    )
