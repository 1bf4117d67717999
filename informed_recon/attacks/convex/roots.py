"""Models without intercept: the missing gradient gives a direction only.

M = t r x^T has rank one, M = s u v^T, so that x = c v and r = (s / t) u / c for
some number c. Each admissible response y turns the link into one equation,

    c residual(c W v, y) = (s / t) u,

with zero, one or two roots c; a known norm leaves c = +norm and c = -norm. All
candidates are returned. (x, 0) and (-x, 1) have the same gradient in a logistic
model at every x, so that without a known label the sign stays open.
"""

import jax
import numpy as np
from scipy import optimize

from informed_recon.types import Reconstruction

# Candidate lengths, as multiples of the known records' median norm.
_LENGTHS = np.logspace(-6, 6, 4001)


def _rows(problem, h, y):
  """Residuals (m, K) at predictors h (m, K) for one response y (K,)."""
  return np.asarray(jax.vmap(lambda one: problem.family.residual(one, y))(h))


def _roots(problem, y, a, rho, unit):
  """All c with c residual(c a, y) = rho, judged on the largest entry of rho."""
  k = int(np.argmax(np.abs(rho)))

  def gap(c):
    c = np.atleast_1d(c)
    return c * _rows(problem, c[:, None] * a, y)[:, k] - rho[k]

  found = []
  for sign in (1.0, -1.0):
    lengths = sign * unit * _LENGTHS
    with np.errstate(over="ignore"):  # exp at absurd lengths
      gaps = gap(lengths)
    fine = np.isfinite(gaps[:-1]) & np.isfinite(gaps[1:])
    crosses = np.sign(gaps[:-1]) * np.sign(gaps[1:]) <= 0
    for i in np.flatnonzero(fine & crosses):
      if gaps[i + 1] == 0:  # the next interval starts on this root
        continue
      c = optimize.brentq(
        lambda c: gap(c)[0],
        lengths[i],
        lengths[i + 1],
        xtol=1e-300,
        rtol=4 * np.finfo(float).eps,
      )
      found.append(c)
  return found


def _explains(problem, c, y, a, rho, limit):
  r = _rows(problem, (c * a)[None], y)[0]
  return bool(np.linalg.norm(c * r - rho) <= limit * np.linalg.norm(rho))


def _by_response(problem, a, rho, unit, limit):
  """(c, label) for each admissible response and each root that all explain."""
  found = []
  for code, label in zip(problem.codes, problem.labels, strict=True):
    for c in _roots(problem, code, a, rho, unit):
      near = problem.norm is None or (
        abs(abs(c) - problem.norm) <= limit * problem.norm
      )
      if near and _explains(problem, c, code, a, rho, limit):
        found.append((c, label))
  return found


def _by_norm(problem, a, rho):
  found = []
  for c in (problem.norm, -problem.norm):
    y = np.asarray(problem.family.response(c * a, rho / c))
    if np.all(y >= problem.family.minimum):
      found.append((c, y.item() if y.size == 1 else y))
  return found


def reconstruct(problem, m, noise, limit) -> Reconstruction:
  """Candidates for the target, from the missing gradient m (K, d)."""
  m, noise = m / problem.target_weight, noise / problem.target_weight
  u, s, vt = np.linalg.svd(m, full_matrices=False)
  v, size = vt[0], s[0]
  nothing = np.full(m.shape[1], np.nan)
  floor = np.linalg.norm(noise) / size if size > 0 else np.inf
  if not floor <= limit:
    return Reconstruction(
      nothing,
      None,
      False,
      float(floor),
      message=(
        "the target's gradient does not stand above rounding: it is fitted "
        "perfectly, or its loss is flat there"
      ),
    )
  rank = s[1] / size if len(s) > 1 else 0.0
  residual = float(max(floor, rank))
  if not rank <= limit:
    return Reconstruction(
      nothing,
      None,
      False,
      residual,
      message=(
        "the missing gradient is not of rank one; the weights are not at the "
        "optimum (stopped early?), or the known records or the penalty are "
        "not those of the training"
      ),
    )
  a, rho = problem.weights @ v, size * u[:, 0]
  norms = np.linalg.norm(problem.x, axis=1)
  unit = float(np.median(norms)) if np.any(norms > 0) else 1.0
  if len(problem.codes):
    found = _by_response(problem, a, rho, unit, limit)
  elif problem.norm is not None:
    found = _by_norm(problem, a, rho)
  else:
    return Reconstruction(
      v,
      None,
      False,
      residual,
      message=(
        "without intercept only the direction of the features is determined, "
        "up to its sign (given here with norm 1); known_label, known_norm or "
        "label_set fixes its length"
      ),
    )
  candidates = tuple((c * v, label) for c, label in found)
  if not candidates:
    return Reconstruction(
      nothing,
      None,
      False,
      residual,
      message="no length of the features explains the missing gradient",
    )
  # The most ordinary length first; the order decides nothing.
  candidates = tuple(
    sorted(candidates, key=lambda xy: abs(np.linalg.norm(xy[0]) - unit))
  )
  x, y = candidates[0]
  # v is known to the noise over M's size, and so is the length that M gives.
  left = np.hypot(noise, problem.leftover[0] / problem.target_weight)
  error = np.linalg.norm(x) * np.linalg.norm(left, axis=0) / size
  several = len(candidates) > 1
  return Reconstruction(
    x,
    y,
    not several,
    residual,
    candidates,
    f"{len(candidates)} records explain the missing gradient; see candidates"
    if several
    else "",
    error,
    problem.redundant,
  )
