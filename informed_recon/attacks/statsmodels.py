"""Reconstruction from statsmodels results, taken as they are.

OLS, WLS, Logit, Probit, MNLogit, Poisson and GLM without penalty are the closed
form's models: at their end the score is zero. Results say more than weights:
`normalized_cov_params` is the inverse of the information matrix, so that

    t w x x^T = information - (the known records' own),

which checks every answer (`convex.information`).

Results also carry all records they were fitted to (`results.model.exog`) until
`remove_data()` takes them out; the attack looks at none of them.
"""

import warnings

import numpy as np

from informed_recon.attacks.convex import (
  closed_form,
  glm,
  grid,
  information,
  inputs,
  stopping,
  trust,
)
from informed_recon.attacks.convex.columns import Columns, placed
from informed_recon.types import Reconstruction, UserError

DISCRETE = ("Logit", "Probit", "MNLogit", "Poisson")
SETTINGS = (
  "maxiter",
  "tol",
  "gtol",
  "ftol",
  "xtol",
  "pgtol",
  "norm",
  "avextol",
)

_FAMILIES = {
  "Gaussian": "linear",
  "Binomial": "logistic",
  "Poisson": "poisson",
  "Gamma": "gamma",
  "InverseGaussian": "inverse_gaussian",
}
_LINKS = {
  "Identity": "identity",
  "Log": "log",
  "Logit": "logit",
  "Probit": "probit",
  "CLogLog": "cloglog",
  "InversePower": "inverse",
  "InverseSquared": "inverse_squared",
  "Sqrt": "sqrt",
}


def _family(model) -> glm.Family:
  """The loss of a model, by what kind of model it is."""
  kind = type(model).__name__
  simple = {
    "OLS": ("linear", None),
    "WLS": ("linear", None),
    "Logit": ("logistic", None),
    "Probit": ("logistic", "probit"),
    "MNLogit": ("softmax", None),
    "Poisson": ("poisson", None),
  }
  if kind in simple:
    return glm.get(*simple[kind])
  if kind != "GLM":
    raise UserError(
      f"statsmodels' {kind} has no closed-form attack; supported: "
      f"{', '.join(simple)}, GLM"
    )
  name, link = (
    type(part).__name__ for part in (model.family, model.family.link)
  )
  link = "sqrt" if getattr(model.family.link, "power", 0) == 0.5 else link
  if name == "NegativeBinomial" and link == "Log":
    return glm.negative_binomial(float(model.family.alpha))
  if name == "Tweedie" and link == "Log" and model.family.var_power >= 1:
    return glm.tweedie(float(model.family.var_power))
  if name not in _FAMILIES:
    raise UserError(f"GLM's {name} with link {link} has no closed-form attack")
  return glm.get(_FAMILIES[name], _LINKS.get(link, link))


def _supported(results):
  """The model of results that are at an optimum of the plain likelihood."""
  model, params = (getattr(results, k, None) for k in ("model", "params"))
  if model is None or params is None or not hasattr(model, "_init_keys"):
    raise UserError(f"no statsmodels results: {type(results).__name__}")
  inner = getattr(results, "_results", results)
  if "egulari" in type(inner).__name__ or type(inner).__name__.startswith("L1"):
    raise UserError(
      "results of fit_regularized do not say their penalty; attacks.convex "
      "takes it as l2"
    )
  if getattr(results, "k_constr", 0) or getattr(inner, "constraints", None):
    raise UserError("results of fit_constrained are not at an optimum")
  offset = any(
    np.any(getattr(model, name, None)) for name in ("offset", "exposure")
  )
  if offset or getattr(model, "_has_offset", False):
    raise UserError("models with offset or exposure are not supported")
  return model


def _weighted(model) -> bool:
  return type(model).__name__ == "WLS" or any(
    getattr(model, name, False)
    for name in ("_has_freq_weights", "_has_var_weights")
  )


def _exog(model, count: int, known_x) -> np.ndarray:
  names = model.exog_names and list(model.exog_names)  # None without data
  columns = getattr(known_x, "columns", None)
  if columns is not None and names and list(columns) != names:
    raise UserError(
      f"known_x must have the columns of exog, {names}; got {list(columns)}"
    )
  try:
    x = np.asarray(known_x, np.float64)
  except (TypeError, ValueError):
    raise UserError("known_x must be a table of numbers") from None
  if x.ndim != 2 or x.shape[1] != count:
    raise UserError(
      f"known_x has shape {x.shape}; the model was fitted on {count} columns"
    )
  if not np.all(np.isfinite(x)):
    raise UserError("known_x holds NaN or infinite values")
  return x


def _constant(model, x) -> tuple[int, float] | None:
  """Column and value of the intercept, or None."""
  where = getattr(model.data, "const_idx", None)
  if where is None or not len(x) or not x[0, where]:
    return None
  if np.any(x[:, where] != x[0, where]):
    raise UserError(
      f"column {where} was constant at the fit; it is not in known_x"
    )
  return int(where), float(x[0, where])


def _problem(model, params, x, constant, y, sample_weight, target_weight, d):
  """What the closed form is to solve; `d` decimals or None."""
  family = _family(model)
  params = np.asarray(params, np.float64)
  weights = params.T if params.ndim == 2 else params[None]
  if family is glm.SOFTMAX:  # the first category is the reference
    weights = np.vstack([np.zeros(weights.shape[1]), weights])
  intercept = None
  if constant is not None:
    column, value = constant
    intercept = weights[:, column] * value
    weights, x = (np.delete(a, column, 1) for a in (weights, x))
  if family.response is None and family is not glm.SOFTMAX:
    if not np.isin(y, (0, 1)).all():
      raise UserError("known_y must be 0 or 1, as at the fit")
    y = np.asarray(y, int)
  return inputs.check(
    family,
    weights,
    intercept,
    x,
    y,
    sample_weight=sample_weight,
    target_weight=target_weight,
    decimals=d,
  )


def reconstruct(
  results,
  known_x,
  known_y,
  *,
  sample_weight=None,
  target_weight=1.0,
  decimals=None,
  columns=None,
) -> Reconstruction:
  """Recovers the one record that a statsmodels fit saw and the adversary not.

  Args:
    results: what `fit` returned: of OLS, WLS, Logit, Probit, MNLogit, Poisson,
      or GLM (Gaussian, Binomial, Poisson, Gamma, InverseGaussian,
      NegativeBinomial and Tweedie under their usual links), with or without
      data in it.
    known_x: (n, d) the known records' rows of exog, the constant among them.
    known_y: (n,) their endog.
    sample_weight: (n,) their weights (WLS's weights; GLM's freq_weights or
      var_weights).
    target_weight: the target's own weight.
    decimals: that the parameters were rounded to; found out where they show it.
    columns: `attacks.convex.Columns`, what is known of the target's columns.

  Returns:
    A `Reconstruction`, x (d,) in the columns of exog.

  Raises:
    UserError: not supported, or the records do not fit the model; one line.

  Cost: three fits of the model.
  """
  model = _supported(results)
  y = inputs.responses(known_y)
  x = _exog(model, len(results.params), known_x)
  if len(x) != len(y):
    raise UserError(f"known_x has {len(x)} records, known_y {len(y)}")
  if _weighted(model) and sample_weight is None:
    raise UserError(
      "the model was fitted with weights; pass the known records' as "
      "sample_weight and the target's as target_weight"
    )
  constant = _constant(model, x)
  problem = _problem(
    model,
    results.params,
    x,
    constant,
    y,
    sample_weight,
    target_weight,
    decimals,
  )
  weight = problem.sample_weight

  def fit(keep):
    again = _fitted(results, model, x[keep], y[keep], weight[keep])
    if again is None or np.shape(again.params) != np.shape(results.params):
      return None
    return _problem(
      model, again.params, x, constant, y, weight * keep, target_weight, None
    )

  left = stopping.leftover(fit, len(x))
  if left is None:
    raise UserError("the model cannot be fitted to the known records alone")
  known = None
  if columns is not None:
    names = getattr(known_x, "columns", model.exog_names)
    known = _shifted(placed(columns, names, x.shape[1]), constant)
  found = _solved(results, problem._replace(leftover=left), constant, known)
  found = grid.checked(found, problem.x)
  if constant is None:
    return found
  column, value = constant
  return found._replace(
    x=np.insert(found.x, column, value),
    error=None if found.error is None else np.insert(found.error, column, 0.0),
    candidates=tuple(
      (np.insert(z, column, value), v) for z, v in found.candidates
    ),
  )


def _shifted(columns: Columns, constant) -> Columns:
  """By position among the columns without the constant."""
  if constant is None:
    return columns
  at = constant[0]

  def shift(j):
    if j == at:
      raise UserError(f"columns: {j} is the constant")
    return j - (j > at)

  return Columns(
    {shift(j): v for j, v in columns.known.items()},
    [shift(j) for j in columns.whole],
    [[shift(j) for j in group] for group in columns.one_hot],
    {shift(j): v for j, v in columns.bounds.items()},
  )


def _fitted(results, model, x, y, weight):
  """The same model fitted to other records in the same way, or None."""
  kind, more = type(model).__name__, {}
  if kind == "GLM":
    more["family"] = model.family
    if _weighted(model):
      more["var_weights"] = weight
  elif kind == "WLS":
    more["weights"] = weight
  how = dict(getattr(results, "mle_settings", None) or {})
  settings = {k: how[k] for k in SETTINGS if how.get(k) is not None}
  if kind in ("OLS", "WLS"):
    settings = {}
  elif kind != "GLM":
    settings |= dict(method=how.get("optimizer", "newton"), disp=0)
  elif how.get("optimizer", "IRLS") != "IRLS":
    settings["method"] = how["optimizer"]
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      return type(model)(y, x, **more).fit(**settings)
  except (ValueError, ArithmeticError, RuntimeError):  # separated, singular ...
    return None


def _solved(results, problem, constant, known) -> Reconstruction:
  """The closed form's answer, compared with the information matrix."""
  # The information checks it too, so that the closed form may be less strict.
  several = trust.TOLERANCE_SEVERAL
  found = closed_form.solve(problem._replace(tolerance=several), known)
  gap = None
  if constant is not None:
    # GLM and OLS state what is expected, the other models what was observed.
    observed = type(results.model).__name__ in DISCRETE
    stated = _covariance(results, *constant)
    gap = information.disagreement(problem, found, stated, observed)
  if gap is not None and gap <= information.AGREES:
    return found._replace(checked=True)
  if gap is not None and gap > information.DISAGREES:
    return trust.doubted(
      found,
      "the stated covariance is not that of the known records and this one",
    )
  if found.residual > trust.tolerance(problem):
    return trust.doubted(
      found, "the self-check is loose, and the covariance does not help"
    )
  return found


def _covariance(results, column: int, value: float):
  """The inverse information, each output's constant last and as if it were 1;
  None where results do not have it."""
  stated = getattr(results, "normalized_cov_params", None)
  d = len(results.params)
  if stated is None or np.shape(stated) != (np.size(results.params),) * 2:
    return None
  order = np.append(np.delete(np.arange(d), column), column)
  order = (np.arange(len(stated) // d)[:, None] * d + order).ravel()
  unit = np.where(order % d == column, value, 1.0)
  return np.asarray(stated)[np.ix_(order, order)] * np.outer(unit, unit)
