"""What fitted scikit-learn estimators say of their objective.

Each estimator has its own conventions, which are turned into the sum
form of `attacks.convex`:

- LogisticRegression: l2 = 1 / C. Several classes are one softmax, whose
  unpenalised intercept is determined up to a common shift, which changes no
  probability and no gradient. liblinear puts its intercept under the penalty
  (divided by intercept_scaling^2) and fits one class against the rest. Under an
  l1 penalty (saga) a feature whose weights are all zero is lost.
- LinearRegression, Ridge, RidgeClassifier: l2 = alpha; RidgeClassifier fits
  responses -1 and 1.
- PoissonRegressor, GammaRegressor, ElasticNet, Lasso, SGDClassifier with
  log_loss: alpha is per record, so l2 = alpha n with n counting the target.
- LinearSVC with squared hinge: l2 = 1 / C, the intercept penalised as in
  liblinear.
- RidgeCV, RidgeClassifierCV, LassoCV, ElasticNetCV and LogisticRegressionCV
  are the estimator of the penalty that they chose, fitted to all records.
- TweedieRegressor of any power with the log link, and of power 0 with the
  identity.
- MultiTaskLasso, MultiTaskElasticNet: l21 = alpha n, which loses the features
  whose weights are all zero.
- HuberRegressor: divided by its scale, weights, intercept and responses are
  those of Huber's loss with l2 = 2 alpha scale (`huber`).
- OneVsRestClassifier over a binary classifier of these.
"""

from typing import Any, NamedTuple

import numpy as np
from sklearn import linear_model, multiclass, svm

from informed_recon.attacks.convex import glm
from informed_recon.types import UserError


class Released(NamedTuple):
  """What an estimator says of itself; penalties in sum form unless marked."""

  family: str | glm.Family
  l2: Any = 0.0  # a number, or (K, 1) with one penalty an output
  l1: float = 0.0
  l21: float = 0.0
  l2_intercept: float = 0.0
  mean_form: bool = False  # penalties still want multiplying by n
  mean_weight: bool = False  # n then is the total weight, not a count
  unit: float = 1.0  # in which the family takes weights and responses


def plain(e):
  """The unfitted estimator with the penalty that a cross-validated one chose;
  any other estimator as it is."""
  name = type(e).__name__
  target = _CROSS_VALIDATED.get(name)
  if target is None or type(e) is not getattr(linear_model, name):
    return e
  accepted = set(target().get_params()) - {"precompute"}  # other values there
  shared = {k: v for k, v in e.get_params().items() if k in accepted}
  for setting in ("alpha", "C", "l1_ratio"):
    chosen = np.ravel(getattr(e, f"{setting}_", None))
    values = {v for v in chosen.tolist() if v is not None}
    if len(values) > 1:
      raise UserError(
        f"{name} chose another {setting} for each class; not supported"
      )
    if values and setting in accepted:
      shared[setting] = values.pop()
  found = target(**shared)
  if hasattr(e, "classes_"):
    found.classes_ = e.classes_
  return found


_CROSS_VALIDATED = {
  "RidgeCV": linear_model.Ridge,
  "RidgeClassifierCV": linear_model.RidgeClassifier,
  "LassoCV": linear_model.Lasso,
  "ElasticNetCV": linear_model.ElasticNet,
  "MultiTaskLassoCV": linear_model.MultiTaskLasso,
  "MultiTaskElasticNetCV": linear_model.MultiTaskElasticNet,
  "LogisticRegressionCV": linear_model.LogisticRegression,
}


def _logistic_regression(e) -> Released:
  C = float(e.C)
  if not C > 0:
    raise UserError(f"LogisticRegression has C={e.C!r}, which is no penalty")
  penalty = getattr(e, "penalty", "deprecated")
  ratio = {"l2": 0.0, "l1": 1.0}.get(penalty, e.l1_ratio or 0.0)
  strength = 0.0 if penalty is None else 1.0 / C
  l2, l1 = (1.0 - ratio) * strength, ratio * strength
  if e.solver == "liblinear":
    if l1:
      raise UserError(
        "liblinear's l1 penalty is not supported; refit with saga"
      )
    return Released("logistic", l2=l2, l2_intercept=l2 / e.intercept_scaling**2)
  one_vs_rest = getattr(e, "multi_class", "auto") == "ovr"
  several = len(e.classes_) > 2 and not one_vs_rest
  return Released("softmax" if several else "logistic", l2=l2, l1=l1)


def _ridge(e) -> Released:
  if getattr(e, "positive", False):
    raise UserError("positive=True holds weights at zero; not supported")
  alpha = np.asarray(getattr(e, "alpha", 0.0), np.float64)
  return Released("linear", l2=alpha[:, None] if alpha.ndim else float(alpha))


def _elastic_net(e) -> Released:
  if e.positive:
    raise UserError("positive=True holds weights at zero; not supported")
  return Released(
    "linear",
    l2=e.alpha * (1.0 - e.l1_ratio),
    l1=e.alpha * e.l1_ratio,
    mean_form=True,
    mean_weight=True,
  )


def _multi_task(e) -> Released:
  ratio = getattr(e, "l1_ratio", 1.0)
  return Released(
    "linear",
    l2=e.alpha * (1.0 - ratio),
    l21=e.alpha * ratio,
    mean_form=True,
  )


def _huber(e) -> Released:
  return Released(
    glm.huber(float(e.epsilon)), l2=2 * e.alpha * e.scale_, unit=e.scale_
  )


def _linear_svc(e) -> Released:
  if e.loss != "squared_hinge" or e.penalty != "l2":
    raise UserError(
      "LinearSVC is supported with loss='squared_hinge', penalty='l2'; got "
      f"{e.loss!r}, {e.penalty!r}"
    )
  if e.multi_class != "ovr" and len(e.classes_) > 2:
    raise UserError("LinearSVC is supported with multi_class='ovr'")
  return Released(
    "squared_hinge",
    l2=1.0 / e.C,
    l2_intercept=1.0 / e.C / e.intercept_scaling**2,
  )


def _sgd(e) -> Released:
  if e.loss != "log_loss":
    raise UserError(
      f"SGDClassifier is supported with loss='log_loss', got {e.loss!r}"
    )
  ratio = {"l2": 0.0, "l1": 1.0, None: 0.0}.get(e.penalty, e.l1_ratio)
  alpha = 0.0 if e.penalty is None else e.alpha
  return Released(
    "logistic", l2=alpha * (1.0 - ratio), l1=alpha * ratio, mean_form=True
  )


def _tweedie(e) -> Released:
  link = {"auto": "identity" if e.power <= 0 else "log"}.get(e.link, e.link)
  family = glm.tweedie(float(e.power))
  if e.power <= 0:
    family = glm.get("linear", link)
  if e.power < 0 or (e.power > 0 and link != "log"):
    raise UserError(
      "TweedieRegressor is supported with power 0, and with the log link from "
      f"power 1 on; got {e.power!r} and {link!r}"
    )
  return Released(family, l2=e.alpha, mean_form=True, mean_weight=True)


_READERS = {
  linear_model.LogisticRegression: _logistic_regression,
  linear_model.LinearRegression: _ridge,
  linear_model.Ridge: _ridge,
  linear_model.RidgeClassifier: _ridge,
  linear_model.ElasticNet: _elastic_net,
  linear_model.Lasso: _elastic_net,
  linear_model.MultiTaskElasticNet: _multi_task,
  linear_model.MultiTaskLasso: _multi_task,
  linear_model.HuberRegressor: _huber,
  linear_model.PoissonRegressor: lambda e: Released(
    "poisson", l2=e.alpha, mean_form=True, mean_weight=True
  ),
  linear_model.GammaRegressor: lambda e: Released(
    "gamma", l2=e.alpha, mean_form=True, mean_weight=True
  ),
  linear_model.TweedieRegressor: _tweedie,
  linear_model.SGDClassifier: _sgd,
  svm.LinearSVC: _linear_svc,
}


_MISTAKES = "it stops once no record is mistaken, at no optimum"
_KINK = (
  "its loss has a kink, where many records lie and any gradient is possible"
)
_WHY_NOT = {
  "Perceptron": _MISTAKES,
  "PassiveAggressiveClassifier": _MISTAKES,
  "PassiveAggressiveRegressor": _MISTAKES,
  "SVC": _KINK,
  "NuSVC": _KINK,
  "SVR": _KINK,
  "NuSVR": _KINK,
  "LinearSVR": _KINK,
  "QuantileRegressor": _KINK,
  "MLPClassifier": "it is not convex; see attacks.stationarity",
  "MLPRegressor": "it is not convex; see attacks.stationarity",
  "SGDRegressor": "its steps end far from the optimum",
}


def read(estimator):
  """What a fitted estimator says of its objective and its solution.

  Returns:
    (`Released`, weights (K, d), intercept (K,) or None, classes (C,) or None).

  Raises:
    UserError: an estimator or a setting that is not supported.
  """
  if isinstance(estimator, multiclass.OneVsRestClassifier):
    parts = estimator.estimators_
    if len(parts) < 2 or estimator.multilabel_:
      raise UserError("OneVsRestClassifier is supported for 3 or more classes")
    each = [read(part) for part in parts]
    _equal_weights(parts[0])
    released = each[0][0]
    intercept = None
    if each[0][2] is not None:
      intercept = np.concatenate([np.ravel(r[2]) for r in each])
    weights = np.concatenate([r[1] for r in each])
    return released, weights, intercept, estimator.classes_
  like = plain(estimator)
  reader = _READERS.get(type(like))
  if reader is None:
    known = ", ".join(sorted(c.__name__ for c in _READERS))
    name = type(estimator).__name__
    why = f" ({_WHY_NOT[name]})" if name in _WHY_NOT else ""
    raise UserError(
      f"{name} has no closed-form attack{why}; supported: "
      f"{known}, {', '.join(_CROSS_VALIDATED)}, OneVsRestClassifier, and a "
      "Pipeline of transformers and one of them"
    )
  weights = estimator.coef_
  if hasattr(weights, "toarray"):
    weights = weights.toarray()
  weights = np.atleast_2d(weights)
  released = reader(like)
  if released.family in ("logistic", "squared_hinge") and len(weights) > 1:
    _equal_weights(estimator)
  intercept = estimator.intercept_ if estimator.fit_intercept else None
  if intercept is not None:
    intercept = np.broadcast_to(np.ravel(intercept), (len(weights),))
  return (
    released,
    weights,
    intercept,
    getattr(estimator, "classes_", None),
  )


def _equal_weights(binary) -> None:
  """One class against the rest: weighted, a record has another weight in each
  output."""
  if getattr(binary, "class_weight", None) is not None:
    raise UserError(
      f"{type(binary).__name__} has class weights, which are not supported for "
      "one class against the rest"
    )
