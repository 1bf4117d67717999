"""Reconstruction from classifiers that their solver left too early, by learning
what the solver leaves behind.

Where a solver stops, the gradient of the whole objective is not zero but some
rho, so that the target's own gradient is

    r_y(z) (z, 1)^T = M + rho,      M = -(gradient of everything known),

and the closed form, which takes rho for zero, fails. rho depends on the record
in a way nobody can follow through the iterations of a solver, but it does not
point anywhere: it lies near the few directions that the solver is slow in. The
informed adversary owns the solver and n records of the target's kind, so it
fits shadow models, reads their rho off, and takes it for noise,

    rho ~ N(mean, S).

What is left is the regression of `convex.regression`, of whose equations the
well-conditioned ones are nearly exact.

How far S can be trusted where the shadow models never go, and how far the
result, is measured on shadow models that were held out of S.
"""

import warnings

import numpy as np
from sklearn.base import clone

from informed_recon.attacks.convex import inputs, missing
from informed_recon.attacks.convex import regression as regression
from informed_recon.attacks.sklearn import problems, transformers
from informed_recon.attacks.sklearn.estimators import read
from informed_recon.attacks.sklearn.unfolding import unfold
from informed_recon.types import Reconstruction, UserError

# Smallest variances of rho that are tried, as shares of its largest.
FLOORS = 10.0 ** np.arange(-12, -1, 2)
# Share of the shadow models that test the rest, and how many at most.
_HELD_OUT, _MOST_HELD_OUT = 0.2, 20
# Weights that fit this many times worse than the worst held-out shadow model's
# come from other records or another training.
_FOREIGN = 10.0


def reconstruct(
  estimator, known_x, known_y, *, shadows=400, seed=0
) -> Reconstruction:
  """Recovers the target of a classifier whose solver stopped early.

  Args:
    estimator: a fitted classifier of those that `attacks.sklearn` reads,
      without class weights, or a pipeline of transformers and one. Fitted on
      the known records with the target after them, if its solver minds the
      order.
    known_x: (n, d) features of the known records.
    known_y: (n,) their labels.
    shadows: fits to learn from.
    seed: of the choice of known records that play the target in them.

  Returns:
    A `Reconstruction`, approximate where the model's redundancy is used up:
    `residual` is the error that held-out shadow models let expect, relative to
    the columns' size; `identifiable` where that is at most
    `regression.ACCURACY` and the label is certain.

  Raises:
    UserError: as `attacks.sklearn.reconstruct`; or not a classifier.

  Cost: `shadows` fits, and some hundred small least-squares problems.
  """
  predictor, steps, x = unfold(estimator, known_x)
  y = inputs.responses(known_y)
  problem = problems.problem(predictor, x, y)
  if not len(problem.labels) or problem.family.response is not None:
    raise UserError("a stopped solver's gradient is learned for classifiers")
  if getattr(predictor, "class_weight", None) is not None:
    raise UserError("class weights are not supported for stopped solvers")
  if len(np.unique(y)) < len(problem.labels):
    raise UserError("known_y must have a record of every class")
  scale = missing.column_scale(x)
  known = regression.priors(problem, x / scale)
  picks = np.random.default_rng(seed).permutation(len(x))[:shadows]
  models = [read(_refit(predictor, x, y, i))[1:3] for i in picks]
  labels = np.array([problem.labels.index(v) for v in y[picks].tolist()])
  seen = [regression.missing(problem, *model) for model in models]
  rho = np.stack(
    [
      regression.own(problem, x[i], problem.codes[label], *model).ravel()
      - m.ravel()
      for i, label, model, m in zip(picks, labels, models, seen, strict=True)
    ]
  )

  def explain(model, m, label, noise):
    return regression.explain(
      problem, scale, known[label], label, model, m, noise
    )

  apart = min(int(_HELD_OUT * len(picks)) or 1, _MOST_HELD_OUT)
  truths = x[picks[:apart]] / scale

  def error(found, truth):
    return np.sqrt(np.mean((found.z - truth) ** 2))

  def test(floor):
    """Errors of held-out shadow models' records, their labels given."""
    noise = _noise(rho[apart:], floor)
    found = [
      explain(*of, noise)
      for of in zip(models[:apart], seen[:apart], labels[:apart], strict=True)
    ]
    errors = np.array([error(*p) for p in zip(found, truths, strict=True)])
    ratios = errors / np.array([f.spread for f in found])
    misfit = max(f.misfit for f in found)
    return np.median(errors), floor, float(np.quantile(ratios, 0.9)), misfit

  _, floor, excess, misfit = min(test(floor) for floor in FLOORS)
  noise = _noise(rho, floor)
  model = (problem.weights, problem.intercept)
  m = regression.missing(problem, *model)
  every = [
    explain(model, m, label, noise) for label in range(len(problem.labels))
  ]
  order = np.argsort([-found.score for found in every])
  best = every[order[0]]
  margin = best.score - every[order[1]].score
  residual = float(max(excess, 1.0) * best.spread)
  reasons = []
  if not best.misfit <= _FOREIGN * misfit:
    reasons.append(
      "no record explains the weights: the known records or the training are "
      "not those of this model"
    )
  if not residual <= regression.ACCURACY:
    reasons.append(
      f"the solver's remaining gradient hides the record: expected error "
      f"{residual:.1g} of the columns' size"
    )
  if not margin >= regression.SURE * max(excess, 1.0) ** 2:
    reasons.append("another label explains the weights nearly as well")

  def record(k):
    z = every[k].z * scale
    return transformers.undo(steps, z[None])[0], problem.labels[k]

  candidates = tuple(record(k) for k in order)
  return Reconstruction(
    *candidates[0], not reasons, residual, candidates, "; ".join(reasons)
  )


def _refit(predictor, x, y, target):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the solver stops early is known
    return clone(predictor).fit(
      np.vstack([x, x[target]]), np.append(y, y[target])
    )


def _noise(rho, floor):
  """Mean of rho (P,) and its whitening matrix S^(-1/2) (P, P)."""
  mean = rho.mean(0)
  covariance = np.cov(rho.T)
  values, vectors = np.linalg.eigh(covariance)
  values = np.maximum(values, max(floor * values[-1], 1e-300))
  return mean, (vectors / np.sqrt(values)).T
