"""What the closed form is to solve for a fitted estimator, and how far from the
optimum its solver stops."""

import time
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse
from sklearn import base

from informed_recon.attacks.convex import inputs, missing
from informed_recon.attacks.sklearn.estimators import plain, read
from informed_recon.types import UserError

# Fits of the known records, and of all but one of them, that show what the
# solver leaves; no more are begun once they took that many seconds.
FITS, PATIENCE = 3, 5.0
SAFETY = 2.0  # what the solver leaves differs from fit to fit
# L-BFGS also stops where a step gains less than this, relative to the mean loss
# or to 1 (scikit-learn's `ftol`), and by how far it then is from the optimum
# differs by chance from fit to fit.
LEAST_GAIN = 64 * np.finfo(np.float64).eps
GAINS_LEFT = 10.0  # such gains that slow steps may leave


def _signs(classes, known_y, n_outputs):
  """RidgeClassifier's responses: one of K is 1 and the others -1."""
  unseen = np.setdiff1d(np.unique(known_y), classes)
  if unseen.size:
    raise UserError(f"known_y has labels the estimator lacks: {unseen[:5]}")
  codes = 2.0 * np.eye(len(classes)) - 1.0
  codes = codes[:, 1:] if n_outputs == 1 else codes
  return codes[np.searchsorted(classes, known_y)], codes


def problem(
  predictor,
  x,
  known_y,
  unknown: int = 1,
  sample_weight=None,
  target_weight=1.0,
  decimals=None,
) -> inputs.Problem:
  """What the closed form is to solve for a predictor from `unfold`.

  `unknown` records beside the known ones were fitted, which counts where a
  penalty is per record (or per unit of weight). Class weights are left out;
  they depend on the target's label.
  """
  released, weights, intercept, classes = read(predictor)
  y = np.asarray(known_y)
  keywords = dict(target_weight=target_weight, decimals=decimals)
  beyond = {}
  if released.family == "linear" and classes is not None:
    y, codes = _signs(classes, y, len(weights))
    keywords["label_set"] = codes
    beyond["labels"] = np.asarray(classes).tolist()
  elif classes is not None:
    keywords["label_set"] = np.asarray(classes).tolist()
  if sample_weight is not None:
    keywords["sample_weight"] = sample_weight
  checked = inputs.check(released.family, weights, intercept, x, y, **keywords)
  n = 1
  if released.mean_form:
    n = len(x) + unknown
    if released.mean_weight and sample_weight is not None:
      n = np.sum(checked.sample_weight) + unknown * checked.target_weight
  return checked._replace(
    l2=released.l2 * n,
    l1=released.l1 * n,
    l2_intercept=released.l2_intercept,
    **beyond,
  )


def class_weights(class_weight, classes, known_y, label):
  """Weight of each class when the target's label is `label`."""
  if class_weight == "balanced":
    y = known_y if label is None else np.append(known_y, label)
    counts = np.array([np.sum(y == c) for c in classes])
    weights = len(y) / (len(classes) * np.maximum(counts, 1))
    return dict(zip(np.asarray(classes).tolist(), weights, strict=True))
  return {c: class_weight.get(c, 1.0) for c in np.asarray(classes).tolist()}


def leftover(predictor, x, y, sample_weight=None, seed=0):
  """((K, d), (K,)) size of the gradient that the estimator's solver leaves.

  Measured at the end of fits to the known records, with their whole objective
  known. A feature in which those happen to leave little gets the mean over
  features, in units of the columns.
  """
  rng, began, found = np.random.default_rng(seed), time.monotonic(), []
  scale, hidden = missing.column_scale(x), None
  for i in range(FITS):
    if found and time.monotonic() - began > PATIENCE:
      break
    keep = np.ones(len(x), bool)
    if i:
      keep[rng.integers(len(x))] = False
    weights = None if sample_weight is None else sample_weight[keep]
    given = {} if weights is None else dict(sample_weight=weights)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # that the solver stops early is known
      try:
        fitted = base.clone(plain(predictor)).fit(x[keep], y[keep], **given)
        # Which solver "auto" takes depends on how the records were stored.
        taken = getattr(predictor, "solver_", None)
        if taken and taken != fitted.solver_:
          rows = sparse.csr_matrix(x[keep])
          fitted = base.clone(fitted).fit(rows, y[keep], **given)
      except ValueError:  # a class had one record
        continue
    if not np.array_equal(
      getattr(fitted, "classes_", None), getattr(predictor, "classes_", None)
    ):
      continue
    own = problem(fitted, x[keep], y[keep], 0, weights)
    by_class = getattr(predictor, "class_weight", None)
    if by_class is not None:
      of = class_weights(by_class, predictor.classes_, y[keep], None)
      of = np.array([of[c] for c in y[keep].tolist()])
      own = own._replace(sample_weight=own.sample_weight * of)
    intercept = own.intercept
    if intercept is None:
      intercept = np.zeros(len(own.weights))
    if hidden is None:
      hidden = _hidden(predictor, own, intercept)
    with jax.enable_x64(True):
      left, _ = missing.gradient(
        own.family,
        (own.x, own.y, own.sample_weight),
        (own.weights, intercept),
        (own.l2, own.l1, own.l2_intercept),
        own.precision,
      )
    # An l1 penalty may hold any gradient at a weight of zero.
    shown = np.where((own.l1 > 0) & (own.weights == 0), 0.0, left[0])
    found.append((np.abs(shown), np.abs(np.asarray(left[1]))))
  if not found:
    return None
  most, most0 = (np.max(parts, axis=0) for parts in zip(*found))
  mean = np.sqrt(np.mean((most / scale) ** 2, axis=1, keepdims=True)) * scale
  least, least0 = hidden
  return (
    SAFETY * np.maximum(np.maximum(most, mean), least),
    SAFETY * np.maximum(most0, least0),
  )


def _hidden(predictor, own: inputs.Problem, intercept):
  """((K, d), (K,)) gradient that L-BFGS may leave without seeing a gain.

  A gain E left over is at least g² / 2H in a coefficient of curvature H, so
  that |g| <= sqrt(2 E H).
  """
  inner = getattr(predictor, "estimator", predictor)  # one against the rest
  if getattr(inner, "solver", None) != "lbfgs":
    return 0.0, 0.0
  with jax.enable_x64(True):
    h = jnp.asarray(own.x @ own.weights.T + intercept)
    loss = jax.vmap(own.family.loss)(h, own.y) @ own.sample_weight
    slope = jax.vmap(jax.jacfwd(own.family.residual))(h, own.y)
    bend = np.abs(np.diagonal(slope, axis1=1, axis2=2))
  bend = bend * own.sample_weight[:, None]  # (n, K)
  total = np.sum(own.sample_weight)
  left = GAINS_LEFT * LEAST_GAIN * max(total, abs(float(loss)))
  curvature = bend.T @ own.x**2 + own.l2
  return np.sqrt(2 * left * curvature), np.sqrt(2 * left * bend.sum(0))
