"""What the closed form is to solve for a fitted estimator, and how far from the
optimum its solver stops."""

import numpy as np
from scipy import sparse
from sklearn import base

from informed_recon.attacks.convex import inputs, stopping
from informed_recon.attacks.sklearn.estimators import plain, read
from informed_recon.types import UserError

# A released fit may have ended a step before those to known records, where one
# step is worth a decimal or more, or long before them: coordinate descent looks
# at its duality gap only where its steps are short, and may miss it by little.
# The last does not say how many steps it took: it is measured at a looser
# tolerance.
COUNTED = ("lsqr", "newton-cg", "newton-cholesky", "sag", "saga")
UNTOLD, LOOSER = "sparse_cg", 100.0
GAPS = 1000.0  # between fits that ended in a like place, by their duality gaps


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
  keep=None,
) -> inputs.Problem:
  """What the closed form is to solve for a predictor and x from `unfold` and
  known_y from `inputs.responses`.

  `unknown` records beside the known ones were fitted, which counts where a
  penalty is per record (or per unit of weight). Class weights are left out;
  they depend on the target's label. Where `keep` (n,) is given, the fit was to
  those records alone.
  """
  released, weights, intercept, classes = read(predictor)
  y = known_y
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
  if keep is not None:
    checked = checked._replace(sample_weight=checked.sample_weight * keep)
  n = 1
  if released.mean_form:
    n = (len(x) if keep is None else keep.sum()) + unknown
    if released.mean_weight and sample_weight is not None:
      n = np.sum(checked.sample_weight) + unknown * checked.target_weight
  return checked._replace(
    l2=released.l2 * n,
    l1=released.l1 * n,
    l21=released.l21 * n,
    l2_intercept=released.l2_intercept,
    **beyond,
  ).divided(released.unit)


def class_weights(class_weight, classes, known_y, label):
  """Weight of each class when the target's label is `label`."""
  if class_weight == "balanced":
    y = known_y if label is None else np.append(known_y, label)
    counts = np.array([np.sum(y == c) for c in classes])
    weights = len(y) / (len(classes) * np.maximum(counts, 1))
    return dict(zip(np.asarray(classes).tolist(), weights, strict=True))
  return {c: class_weight.get(c, 1.0) for c in np.asarray(classes).tolist()}


def leftover(predictor, x, y, sample_weight=None):
  """((K, d), (K,)) size of the gradient that the estimator's solver leaves;
  None where it cannot be fitted to the known records."""

  def fit(keep):
    given = {}
    if sample_weight is not None:
      given = dict(sample_weight=sample_weight[keep])
    like = base.clone(plain(predictor))
    if getattr(predictor, "solver_", None) == UNTOLD:
      like.set_params(tol=LOOSER * like.tol)
    try:
      fitted = like.fit(x[keep], y[keep], **given)
      steps = _steps(predictor)
      if steps and _steps(fitted) > steps:
        fewer = base.clone(like).set_params(max_iter=steps)
        fewer.fit(x[keep], y[keep], **given)
        # Unless the release found its active features that much sooner.
        gap, released = (
          getattr(e, "dual_gap_", 0.0) for e in (fewer, predictor)
        )
        if gap <= GAPS * released:
          fitted = fewer
      # Which solver "auto" takes depends on how the records were stored.
      taken = getattr(predictor, "solver_", None)
      if taken and taken != fitted.solver_:
        rows = sparse.csr_matrix(x[keep])
        fitted = base.clone(fitted).fit(rows, y[keep], **given)
    except ValueError:  # a class had one record
      return None
    if not np.array_equal(
      getattr(fitted, "classes_", None), getattr(predictor, "classes_", None)
    ):
      return None
    own = problem(fitted, x, y, 0, sample_weight, keep=keep)
    by_class = getattr(predictor, "class_weight", None)
    if by_class is not None:
      of = class_weights(by_class, predictor.classes_, y[keep], None)
      of = np.array([of[c] for c in y.tolist()])
      own = own._replace(sample_weight=own.sample_weight * of)
    return own

  return stopping.leftover(fit, len(x), _least_gain(predictor))


def _steps(predictor) -> int:
  """That the fit took, where they are comparable from fit to fit; else 0."""
  solver = getattr(predictor, "solver_", getattr(predictor, "solver", None))
  taken = getattr(predictor, "n_iter_", None)
  counted = solver in COUNTED or hasattr(predictor, "dual_gap_")
  return int(np.max(taken)) if counted and taken is not None else 0


def _least_gain(predictor) -> float:
  """Relative gain of the loss below which the solver stops, whatever its
  tolerance."""
  inner = getattr(predictor, "estimator", predictor)  # one against the rest
  lbfgs = getattr(inner, "solver", None) == "lbfgs"
  return stopping.SCIKIT_GAIN if lbfgs else 0.0
