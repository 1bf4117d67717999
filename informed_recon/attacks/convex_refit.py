"""Reconstruction from scikit-learn models that their solver left too early.

At a loose tolerance the gradient left at the stop drowns the target's own, and
the closed form fails. The informed adversary knows more than the objective: the
solver, its start and `n_iter_`. So it can look for the record z whose fit ends
where the released model ended,

    A(known + z) = theta,

by Gauss-Newton on the real solver: the Jacobian by finite differences of whole
fits, damped by a trust region (Levenberg 1944, Marquardt 1963). A fit takes
milliseconds and only the number of iterations has to be held, so that the map
does not jump. It still has kinks, where a line search takes another trial, and
with them local minima: hence several starts, from known records whose presence
as a target gives the weights nearest to the released ones.

The check needs no truth: the estimator is fitted once more as it was, with the
recovered record, and has to end at the released weights to several digits.
"""

import warnings

import numpy as np
from scipy import optimize
from sklearn.base import clone, is_classifier

from informed_recon.attacks import sklearn as closed_form
from informed_recon.types import Reconstruction, UserError

# Relative distance between refitted and released weights of a trusted record.
MATCH = 1e-10
# Step of the finite differences, in standard deviations of a column.
STEP = 1e-6


def _weights(estimator):
  return np.concatenate(
    [np.ravel(estimator.coef_), np.ravel(estimator.intercept_)]
  )


def _fit(estimator, x, y, target, label):
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that the solver stops early is known
    model = clone(estimator).fit(np.vstack([x, target]), np.append(y, label))
  return _weights(model)


def _held(estimator):
  """The same solver, made to take exactly the iterations it took.

  Only where the tolerance does nothing but stop the outer loop; in newton-cg
  and the others it stays as it is.
  """
  solver = getattr(estimator, "solver", None)
  if solver != "lbfgs":
    return estimator
  iterations = int(np.max(estimator.n_iter_))
  return clone(estimator).set_params(tol=0.0, max_iter=iterations)


def reconstruct(
  estimator, known_x, known_y, *, starts=10, shadows=150, seed=0
) -> Reconstruction:
  """Recovers the target of an estimator whose solver stopped early.

  Args:
    estimator: a fitted classifier of those that `attacks.sklearn` reads, or a
      pipeline of scalers and one. Fitted on the known records with the target
      after them; solvers that draw at random need an integer random_state, and
      those that visit records in turn mind the order.
    known_x: (n, d) features of the known records.
    known_y: (n,) their labels.
    starts: descents to try.
    shadows: fits from which the starts are chosen.
    seed: of the choice of known records to start from.

  Returns:
    A `Reconstruction`; `residual` is |refitted - released| / |released|. The
    closed form's answer, where that already explains the weights.

  Raises:
    UserError: as `attacks.sklearn.reconstruct`; or not a classifier.

  Cost: about shadows + 10 starts (d + 1) fits at worst.
  """
  predictor, scalers, x = closed_form.unfold(estimator, known_x)
  direct = closed_form.reconstruct(estimator, known_x, known_y)
  if direct.identifiable:
    return direct
  if not is_classifier(predictor):
    raise UserError("refitting is supported for classifiers")
  y = np.asarray(known_y)
  released = _weights(predictor)
  size = np.linalg.norm(released)
  held = _held(predictor)
  scale = x.std(axis=0)
  scale = np.where(scale > 0, scale, scale.mean())
  best = direct._replace(residual=np.inf)

  def off(z, label):
    return _fit(held, x, y, z * scale, label) - released

  def jacobian(z, label):
    here = off(z, label)
    columns = [off(z + STEP * e, label) - here for e in np.eye(len(z))]
    return np.stack(columns, axis=1) / STEP

  rng = np.random.default_rng(seed)
  picks = rng.permutation(len(x))[:shadows]
  distances = [np.linalg.norm(off(x[i] / scale, y[i])) for i in picks]
  for i in picks[np.argsort(distances)][:starts]:
    found = optimize.least_squares(
      off,
      x[i] / scale,
      jac=jacobian,
      args=(y[i],),
      max_nfev=25,
      ftol=1e-12,
      xtol=1e-10,
      gtol=1e-15 * size,
    )
    record = found.x * scale
    gap = np.linalg.norm(_fit(predictor, x, y, record, y[i]) - released) / size
    if gap < best.residual:
      for scaler in reversed(scalers):
        record = scaler.inverse_transform(record[None])[0]
      best = Reconstruction(
        record, y[i].item(), gap <= MATCH, float(gap), ((record, y[i].item()),)
      )
    if best.identifiable:
      return best
  return best._replace(
    message=f"no start led to a record whose fit ends at the released weights "
    f"(nearest: {best.residual:.1e} of their norm)"
  )
