"""A record that was deleted from the data of a scikit-learn estimator."""

import functools
import warnings
from typing import NamedTuple

import jax
import numpy as np
from sklearn import base, preprocessing

from informed_recon.attacks.convex import glm, missing
from informed_recon.attacks.convex.inputs import Problem
from informed_recon.attacks.deletion import posterior
from informed_recon.attacks.sklearn import problems, transformers
from informed_recon.attacks.sklearn.estimators import plain
from informed_recon.attacks.sklearn.unfolding import unfold
from informed_recon.types import Reconstruction, UserError

REFITS = 32  # fits to public records, that show what a solver leaves
SHARE = 0.8  # of the public records in each


class Model(NamedTuple):
  """One of the two, as `missing.gradient` wants it."""

  problem: Problem
  weights: np.ndarray  # (K, d)
  intercept: np.ndarray  # (K,)


def reconstruct(
  before, after, public_x, public_y, *, records, gram=None, left=None
) -> Reconstruction:
  """The record that `before` was fitted with and `after` was not.

  Args:
    before: a fitted estimator of those that `attacks.sklearn` reads, without
      class weights, or a pipeline of scalers and one.
    after: the same, fitted without the record.
    public_x: (m, d) records of the distribution that the training records are
      from; none of them need be a training record.
    public_y: (m,) their labels or responses.
    records: number of records that `before` was fitted with.
    gram: (d + 1, d + 1) Σ x̃ x̃ᵀ of the remaining records, x̃ = (x, 1) scaled as
      the estimator saw them, if it is known: linear and ridge regression then
      give the record exactly.
    left: what `left_by_solver` gives for `before`, to measure it once for many
      deletions.

  Returns:
    A `Reconstruction`: the posterior mean, with its standard deviation as
    `error`, about √(d/n + d/m) of a feature's spread because two samples of a
    distribution differ. `residual` is the share of the gradient that the record
    leaves unexplained; `candidates` has the other labels' records, the likelier
    first. Nothing tells whether the public records (or `gram`) are what they
    should be, so `checked` and `identifiable` are never set. A standard scaler
    that was fitted anew gives every feature exactly: n mean - (n - 1) mean'.

  Raises:
    UserError: the estimators do not belong together, or are not supported.
  """
  (first, scalers, x), (second, others, again) = (
    unfold(model, public_x) for model in (before, after)
  )
  n = _count(records)
  told = _told_by_scalers(scalers, others, n)
  if told is not None:
    return told
  if type(first) is not type(second) or not _same(x, again):
    raise UserError(
      "before and after must be the same estimator, behind the same scaling; "
      "scalers other than a StandardScaler must not be fitted anew"
    )
  if getattr(first, "class_weight", None) is not None:
    raise UserError("estimators with class weights are not supported")
  y = np.asarray(public_y)
  models = [
    _model(model, x, y, n - i) for i, model in enumerate((first, second))
  ]
  a, b = models
  if a.weights.shape != b.weights.shape:
    raise UserError("before and after must tell the same classes apart")
  if np.array_equal(a.weights, b.weights):
    raise UserError("before and after are the same model: nothing was deleted")
  bias = a.problem.intercept is not None
  inputs = np.hstack([x, np.ones((len(x), 1))]) if bias else x
  scale = missing.column_scale(inputs)
  with jax.enable_x64(True):
    if gram is None:
      seen = _seen(models, inputs / scale, scale, n)
      if left is None:
        left = left_by_solver(before, public_x, public_y, records=records)
      seen = _with(seen, left / scale[:, None])
    else:
      seen = _exact(models, gram, scale)
    result = _answer(models[0], seen, inputs / scale, y, scale, bias)
  return transformers.undone(result, scalers, x) if scalers else result


def _count(records) -> int:
  if not np.ndim(records) == 0 or int(records) != records or records < 3:
    raise UserError(
      f"records must be the whole number, above 2, of records that `before` "
      f"was fitted with, got {records}"
    )
  return int(records)


def _same(a, b) -> bool:
  return a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-12)


def _told_by_scalers(scalers, others, n) -> Reconstruction | None:
  """The record, where a standard scaler was fitted with it and another not."""
  pair = (scalers or [None])[0], (others or [None])[0]
  if not all(isinstance(s, preprocessing.StandardScaler) for s in pair):
    return None
  first, second = pair
  if first.mean_ is None or np.array_equal(first.mean_, second.mean_):
    return None
  seen = [int(np.max(s.n_samples_seen_)) for s in pair]
  if seen != [n, n - 1]:
    raise UserError(
      f"the scalers saw {seen[0]} and {seen[1]} records, not {n} and {n - 1}"
    )
  x = n * first.mean_ - (n - 1) * second.mean_
  error = 2 * n * np.finfo(float).eps * np.abs(first.mean_)
  return Reconstruction(
    x,
    None,
    False,
    0.0,
    candidates=((x, None),),
    message="the scalers give every feature away; of the label they say "
    "nothing, and nothing is left over to check them by",
    error=error,
    checked=False,
  )


def _model(predictor, x, y, n) -> Model:
  """`n` is the number of records it was fitted with."""
  problem = problems.problem(predictor, x, y, n - len(x))
  intercept = problem.intercept
  if intercept is None:
    intercept = np.zeros(len(problem.weights))
  return Model(problem, problem.weights, intercept)


def _minus_gradient(model: Model, x, y, weight) -> np.ndarray:
  """(D, K) of everything known, penalty included."""
  problem = model.problem
  (g, g0), _ = missing.gradient(
    problem.family,
    (x, y, weight),
    (model.weights, model.intercept),
    problem.penalty,
    problem.precision,
  )
  bias = problem.intercept is not None
  return np.vstack([g.T, g0[None]]) if bias else np.asarray(g.T)


def _residuals(model: Model, x, y) -> np.ndarray:
  """(m, K) dℓ/dh of each record."""
  h = x @ model.weights.T + model.intercept
  return np.asarray(jax.vmap(model.problem.family.residual)(h, y))


def _seen(models, inputs, scale, n) -> posterior.Seen:
  """The record's gradient by the public records, features over `scale`."""
  problem = models[0].problem
  x, y = problem.x, problem.y
  weight = np.full(len(x), (n - 1) / len(x))
  a, b = (_minus_gradient(model, x, y, weight) for model in models)
  change = _residuals(models[1], x, y) - _residuals(models[0], x, y)
  # Of two samples' means, of the remaining records and of the public ones.
  factor = (n - 1) * (1 + (n - 1) / len(x))
  rows, columns = posterior.covariances(inputs, change, factor)
  gradient = (a - b) / scale[:, None]
  return posterior.Seen(gradient, rows, columns, np.empty((0, *a.shape)))


def _exact(models, gram, scale) -> posterior.Seen:
  """The record's gradient where the remaining records' Gram matrix is known."""
  problem = models[0].problem
  flat = [
    np.vstack([model.weights.T, model.intercept[None]])[: len(scale)]
    for model in models
  ]
  gram = np.asarray(gram, float)
  if gram.shape != (len(scale),) * 2 or not np.isfinite(gram).all():
    raise UserError(f"gram must have shape {(len(scale),) * 2}")
  if problem.family is not glm.LINEAR:
    raise UserError("gram says what it must for linear and ridge regression")
  gradient = gram @ (flat[1] - flat[0])
  d = problem.x.shape[1]
  for model, sign in zip(models, (-1, 1)):
    gradient[:d] += sign * np.transpose(model.problem.l2 * model.weights)
  gradient = gradient / scale[:, None]
  size = np.square(1e-13 * np.linalg.norm(gradient))
  rows, columns = (size / k * np.eye(k) for k in gradient.shape)
  nothing = np.empty((0, *gradient.shape))
  return posterior.Seen(gradient, rows, columns, nothing)


def left_by_solver(estimator, public_x, public_y, *, records) -> np.ndarray:
  """What a solver that stops short of the optimum leaves of the gradient.

  The estimator is fitted to J parts of the public records, and its gradient is
  measured where each fit ends.

  Args:
    estimator: as `before` of `reconstruct`.
    public_x: (m, d) public records.
    public_y: (m,) their labels or responses.
    records: number of records that the released models were fitted with.

  Returns:
    F (J, D, K), for D features (the intercept's 1 included) and K outputs.
    Σ_j vec F_j (vec F_j)ᵀ is the covariance of the difference between what two
    fits to `records` records leave.
  """
  predictor, _, x = unfold(estimator, public_x)
  y, rng, found = np.asarray(public_y), np.random.default_rng(0), []
  size = int(SHARE * min(_count(records), len(x)))
  shape = problems.read(predictor)[1].shape
  for _ in range(REFITS):
    keep = rng.permutation(len(x))[:size]
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # that it stops early is known
      try:
        fitted = base.clone(plain(predictor)).fit(x[keep], y[keep])
      except ValueError:  # a class had no record
        continue
    model = _model(fitted, x[keep], y[keep], size)
    if model.weights.shape == shape:
      with jax.enable_x64(True):
        own = model.problem
        found.append(_minus_gradient(model, own.x, own.y, np.ones(size)))
  if len(found) < 2:
    raise UserError("the estimator cannot be fitted to the public records")
  found = np.array(found) - np.mean(found, 0)
  return found * (records / size) * np.sqrt(2 / (len(found) - 1))


def _with(seen: posterior.Seen, left: np.ndarray) -> posterior.Seen:
  """With the solver's noise, `left` (J, D, K), as well.

  What of it J fits do not show has the size of what each shows and the others
  do not, spread over the entries as all are.
  """
  flat = left.reshape(len(left), -1)
  norms = np.sum(flat**2, 1)
  # Distance of each from the plane through the others: they add up to 0, so
  # one more coordinate, large and the same for all, makes them independent.
  gram = flat @ flat.T + 1e3 * norms.sum() + 1e-300
  tiny = 1e-9 * norms.mean() + 1e-300
  own = 1 / np.diag(np.linalg.inv(gram + tiny * np.eye(len(gram))))
  square = np.sum(left**2, 0) * np.median(own) / max(norms.mean(), 1e-300)
  rows, columns = np.diag(square.sum(1)), np.diag(square.sum(0))
  if left.shape[2] == 1:  # all noise has a place in the rows
    rows = rows + flat.T @ flat
    columns = columns + np.sum(norms)
    left = left[:0]
  return posterior.Seen(
    seen.gradient, seen.rows + rows, seen.columns + columns, left
  )


@functools.partial(jax.jit, static_argnums=0)
def _delta(family, weights, intercept, x, response):
  return family.residual(weights @ x + intercept, response)


@functools.partial(jax.jit, static_argnums=0)
def _slope(family, weights, intercept, x, response):
  return jax.jacrev(_delta, 3)(family, weights, intercept, x, response)


def _answer(model: Model, seen, inputs, y, scale, bias) -> Reconstruction:
  problem = model.problem
  family, weights = problem.family, model.weights
  codes, label_of = problem.codes, problem.labels
  named = len(codes) > 0
  indices = None
  if named:
    indices = np.argmin(
      np.square(problem.y[:, None] - codes[None]).sum(-1), axis=1
    )
  known = posterior.prior(inputs, indices, max(len(codes), 1), bias)
  d = len(scale) - bias

  scaled = weights * scale[:d]

  def delta(x, label):
    return _delta(family, scaled, model.intercept, x[:d], codes[label])

  def slope(x, label):
    found = _slope(family, scaled, model.intercept, x[:d], codes[label])
    return np.pad(found, ((0, 0), (0, bias)))  # the entry 1 stays

  if named:
    readings = posterior.read(seen, known, range(len(codes)), delta, slope)
  else:
    readings = posterior.read(seen, known)
  order = np.argsort([r.residual for r in readings])
  best = readings[order[0]]
  candidates = []
  for i in order:
    reading = readings[i]
    response = (
      label_of[i]
      if named
      else np.asarray(
        family.response(scaled @ reading.x[:d] + model.intercept, reading.delta)
      )
    )
    if not named and response.size == 1:
      response = response.item()
    candidates.append(((reading.x * scale)[:d], response))
  return Reconstruction(
    *candidates[0],
    identifiable=False,
    residual=best.residual,
    candidates=tuple(candidates),
    message=posterior.said(best, named),
    error=(best.error * scale)[:d],
    checked=False,
  )
