"""Reconstruction from scikit-learn models that their solver left too early.

At a loose tolerance the gradient left at the stop drowns the target's own, and
the closed form fails. The informed adversary knows more than the objective: the
solver, its start and `n_iter_`. So it can look for the record z whose fit ends
where the released model ended,

    A(known + z) = theta,

by Gauss-Newton on the real solver: the Jacobian by finite differences of whole
fits, damped by a trust region (Levenberg 1944, Marquardt 1963). Only the
number of iterations must stay the same: the map would jump. It still has kinks,
where a line search takes another trial, and with them local minima: hence
several starts, from what `residual` makes of each label and from known
records whose presence as a target gives the weights nearest to the released.
After many iterations (L-BFGS on a wide problem) the map is so rough that no
start leads anywhere; `residual` alone is then the better answer.

The check needs no truth: the estimator is fitted once more as it was, with the
recovered record, and has to end at the released weights to several digits.
"""

import itertools
import warnings

import numpy as np
from scipy import optimize
from sklearn.base import clone, is_classifier

from informed_recon.attacks import sklearn as attack
from informed_recon.attacks.convex import grid, inputs, missing
from informed_recon.attacks.convex.trust import WORST_ERROR
from informed_recon.attacks.sklearn import residual, transformers
from informed_recon.attacks.sklearn.estimators import read
from informed_recon.attacks.sklearn.unfolding import table, unfold
from informed_recon.types import Reconstruction, UserError

# Relative distance between refitted and released weights of a trusted record.
MATCH = 1e-10
# Step of the finite differences, relative to the size of a column.
STEP = 1e-6


def _weights(estimator):
  _, weights, intercept, _ = read(estimator)
  bias = [] if intercept is None else intercept
  return np.concatenate([np.ravel(weights), np.ravel(bias)])


def _fit(estimator, x, y, target, label):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the solver stops early is known
    model = clone(estimator).fit(np.vstack([x, target]), np.append(y, label))
  return _weights(model)


def _fixed_iterations(estimator):
  """The same solver, made to take exactly the iterations it took.

  Only where the tolerance does nothing but stop the outer loop; in newton-cg
  and the others it stays as it is.
  """
  if getattr(estimator, "solver", None) != "lbfgs":
    return estimator
  iterations = int(np.max(estimator.n_iter_))
  return clone(estimator).set_params(tol=1e-300, max_iter=iterations)


def reconstruct(
  estimator, known_x, known_y, *, starts=10, shadows=150, seed=0
) -> Reconstruction:
  """Recovers the target of an estimator whose solver stopped early.

  Args:
    estimator: a fitted estimator of those that `attacks.sklearn` reads, or a
      pipeline of transformers and one. Fitted on the known records with the
      target after them; solvers that draw at random need an integer
      random_state, and those that visit records in turn mind the order.
    known_x: (n, d) features of the known records.
    known_y: (n,) their labels or responses.
    starts: descents to try.
    shadows: fits from which the starts are chosen.
    seed: of the choice of known records to start from.

  Returns:
    A `Reconstruction`; `residual` is |refitted - released| / |released|. The
    closed form's answer, where that already explains the weights of a
    classifier (for regressions it has nothing to check itself by).

  Raises:
    UserError: as `attacks.sklearn.reconstruct`.

  Cost: 2 shadows + 40 starts (d + 1) fits at worst.
  """
  predictor, steps, x = unfold(estimator, known_x)
  direct = attack.reconstruct(estimator, known_x, known_y)
  classes = is_classifier(predictor)
  if direct.identifiable and classes:
    return direct
  y = inputs.responses(known_y)
  if y.ndim > 1:
    raise UserError("fits are repeated for estimators of one response")
  released = _weights(predictor)
  size = np.linalg.norm(released)
  stopped = _fixed_iterations(predictor)
  scale = missing.column_scale(x)
  unit = 1.0 if classes else np.std(y) or 1.0

  def pack(record, response):
    """The unknowns: features, and the response where it is a number."""
    z = record / scale
    return z if classes else np.append(z, response / unit)

  def unpack(u, label):
    return (u * scale, label) if classes else (u[:-1] * scale, u[-1] * unit)

  def off(u, label):
    return _fit(stopped, x, y, *unpack(u, label)) - released

  def jacobian(u, label):
    here = off(u, label)
    columns = [off(u + STEP * e, label) - here for e in np.eye(len(u))]
    return np.stack(columns, axis=1) / STEP

  def begin():
    """(unknowns, label), the most promising first."""
    if classes:
      learned = residual.reconstruct(
        predictor, x, y, shadows=shadows, seed=seed
      )
      yield from (
        (pack(z, label), label) for z, label in learned.candidates[:2]
      )
    elif direct.y is not None and all(v == v for v in direct.x):
      yield pack(_transformed(direct.x[None], steps), direct.y), direct.y
    picks = np.random.default_rng(seed).permutation(len(x))[:shadows]
    near = [np.linalg.norm(off(pack(x[i], y[i]), y[i])) for i in picks]
    yield from ((pack(x[i], y[i]), y[i]) for i in picks[np.argsort(near)])

  best = direct._replace(identifiable=False, residual=np.inf)
  for start, label in itertools.islice(begin(), starts):
    found = optimize.least_squares(
      off,
      start,
      jac=jacobian,
      args=(label,),
      max_nfev=40,
      ftol=1e-12,
      xtol=1e-10,
      gtol=1e-15 * size,
    )
    record, response = unpack(found.x, label)
    gap = np.linalg.norm(_fit(predictor, x, y, record, response) - released)
    gap = float(gap / size)
    if gap < best.residual:
      error = _error(found.jac, max(gap, MATCH) * size, scale)
      response = np.asarray(response).item()
      best = Reconstruction(
        *(record, response, gap <= MATCH, gap, ((record, response),)),
        checked=classes,  # another response would take up a wrong record
      )
      share = error / missing.column_spread(x)
      best = best._replace(
        identifiable=best.identifiable and bool(np.max(share) <= WORST_ERROR),
        error=error,
      )
      if steps:
        best = transformers.undone(best, steps, x)
    if best.identifiable:
      return grid.checked(best, table(known_x))
  why = (
    "no start led to a record whose fit ends at the released weights "
    f"(nearest: {best.residual:.1e} of their norm)"
  )
  if best.residual <= MATCH:
    why = "other records' fits end at the released weights as well"
  return best._replace(message=why)


def _error(jacobian, gap, scale) -> np.ndarray:
  """(d,) error of the features where weights agree to `gap`."""
  if np.linalg.matrix_rank(jacobian) < jacobian.shape[1]:
    return np.full(len(scale), np.inf)
  back = np.linalg.pinv(jacobian)[: len(scale)]
  return np.linalg.norm(back, axis=1) * gap * scale


def _transformed(records, steps):
  return transformers.apply(steps, records)[0] if steps else records[0]
