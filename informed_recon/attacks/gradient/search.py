"""A batch of records out of one gradient of a two-layer network.

The network is f(x) = a·σ(Wx), W (m, d) with rows w_j ~ N(0, I), and the
gradient is that of a mean squared loss over B records, r_i = ∂L/∂f(x_i):

  ∂L/∂a_j = Σ_i r_i σ(w_j·x_i)            ∂L/∂w_j = a_j Σ_i r_i σ'(w_j·x_i) x_i

(Wang, Lee, Lei, "Reconstructing Training Data from Model Gradient, Provably",
AISTATS 2023). Four steps lead back to the records: their span, in which the
rows of ∂L/∂W lie; directions to start from (`moments`, `patterns`, or random);
least squares over records and residuals that explain the gradient; and the
share that stays unexplained, which is the verdict. `settle` then chooses among
the batches that have this gradient.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from informed_recon.attacks.gradient import moments, patterns, settle
from informed_recon.types import UserError

EXPLAINED = 1e-6  # unexplained share of the gradient at which a batch is found
WORTH_IT = 0.1  # share left by some units at which all are fitted
RANK = 1e-7  # of the largest singular value, the least that counts
SPARE = 3  # equations beyond the unknowns, to check a batch by
SURE = 1e-4  # largest error of the records, over their size, to vouch for
ARITHMETIC = 1e-12  # share of the gradient that rounding may leave
ROWS = 40  # of the hidden units, this many a record are searched with
EVALUATIONS = 200  # of the residuals, in a descent
STARTS = ("patterns", "tensor", "random")


class Gradient(NamedTuple):
  """The gradient of a mean loss over a batch."""

  output: np.ndarray  # (m,) by a
  hidden: np.ndarray | None = None  # (m, d) by W, where it is seen


class Batch(NamedTuple):
  """What was read out of a gradient."""

  x: np.ndarray  # (B, d) records, in no order
  y: np.ndarray  # (B,) their responses
  residual: float  # unexplained share of the gradient's norm
  identifiable: bool  # explained, determined, no other batch has this gradient
  starts: int  # tried until then
  message: str = ""


def reconstruct(
  weights,
  output,
  activation: Callable,
  gradient: Gradient,
  batch: int,
  *,
  start: str | None = None,
  starts: int = 20,
  labels: Sequence[float] | None = None,
  bounds: tuple[float, float] | None = None,
  seed: int = 0,
) -> Batch:
  """The batch whose gradient this is.

  Args:
    weights: W (m, d), as drawn from N(0, 1).
    output: a (m,).
    activation: σ, of arrays, differentiable by jax.
    gradient: of the mean of (f(x) - y)²/2 over the batch.
    batch: B, at most d; its records must be linearly independent.
    start: what the search begins from: "tensor", "random", or "patterns",
      which needs no search, for a σ made of two half-lines, where ∂L/∂W is
      seen; None: patterns where they can be, else the tensor.
    starts: tried at most.
    labels: all responses that a record can have, if they are few.
    bounds: of a record's features.
    seed: of the starts.

  Returns:
    A `Batch`. `residual` is ‖g - the batch's gradient‖ / ‖g‖ for the gradient
    g that was seen. The batch is vouched for (`identifiable`) where that is at
    most 1e-6, the equations determine it, and `labels` or `bounds` leave no
    other batch with the same gradient; else `message` says what is open.

  Raises:
    UserError: shapes that do not fit, a gradient of another rank, or fewer
      equations than unknowns.
  """
  w, a, gradient = _check(weights, output, gradient, batch, start, starts)
  rng = np.random.default_rng(seed)
  with jax.enable_x64(True):
    lines = patterns.slopes(activation)
    seen = lines is not None and gradient.hidden is not None
    if start is None:
      start = "patterns" if seen else "tensor"
    if start == "patterns" and not seen:
      raise UserError(
        "start='patterns' wants an activation made of two half-lines and the "
        "hidden layer's gradient; use start='tensor'"
      )
    if gradient.hidden is None:
      basis = moments.span(gradient.output, w, activation, batch, rng)
    else:
      basis = _row_space(gradient.hidden / a[:, None], batch)
    problem = _Problem(w, a, activation, gradient, basis)
    best, tried = (np.inf, np.zeros((batch, batch)), np.zeros(batch)), 0
    if start == "patterns":
      best, tried = problem.of_patterns(*lines) or best, 1
    else:
      directions = (
        moments.directions(gradient.output, w @ basis, activation, rng)
        if start == "tensor"
        else _random(batch, rng)
      )
      for z in itertools.islice(directions, starts):
        tried += 1
        best = min(best, problem.solve(z), key=lambda found: found[0])
        if best[0] <= EXPLAINED:
          break
    share, z, r = best
    x = z @ basis.T
    f = np.asarray(activation(jnp.asarray(w @ x.T))).T @ a
    x, y, message = settle.settle(activation, x, f, batch * r, labels, bounds)
    message = message or problem.doubt(z, r, lines is not None)
  if not share <= EXPLAINED:
    message = (
      f"no batch of {batch} records was found that explains the gradient "
      f"(a share of {share:.1e} is left)"
    )
  return Batch(x, y, share, not message, tried, message)


def _random(size: int, rng):
  """Yields (B, B) random unit directions."""
  while True:
    directions = rng.normal(size=(size, size))
    yield directions / np.linalg.norm(directions, axis=1, keepdims=True)


def _row_space(per_unit, batch: int) -> np.ndarray:
  """(d, B) basis of the rows of ∂L/∂W."""
  _, singular, rows = np.linalg.svd(per_unit, full_matrices=False)
  rank = int((singular > RANK * singular[0]).sum())
  if rank != batch:
    raise UserError(
      f"the hidden layer's gradient has rank {rank}, a batch of {batch} "
      f"independent records has {batch}; give batch={rank}"
    )
  return rows[:batch].T


class _Problem:
  """Least squares over records in a basis and their residuals; the search sees
  some hidden units, the verdict all of them."""

  def __init__(self, w, a, activation, gradient, basis):
    m, size = len(a), basis.shape[1]
    slope = jax.vmap(jax.vmap(jax.grad(activation)))
    columns = [gradient.output[:, None]]
    seen = gradient.hidden is not None
    if seen:
      columns.append(gradient.hidden / a[:, None] @ basis)
    scale = [np.linalg.norm(c) / np.sqrt(m) or 1.0 for c in columns]
    scale = np.repeat(scale, [c.shape[1] for c in columns])

    def predict(w, z, r):
      """(m, 1 or 1 + B) both layers' gradients, of records z (B, b)."""
      pre = w @ z.T
      parts = [activation(pre) @ r[:, None]]
      if seen:
        parts.append((slope(pre) * r) @ z)
      return jnp.concatenate(parts, 1) / scale

    def residuals(w, target, p):
      z = p[: size * size].reshape(size, size)
      return (predict(w, z, p[size * size :]) - target).ravel()

    self.w, self.hidden = w @ basis, columns[-1]
    self.target = np.concatenate(columns, 1) / scale
    self.few = slice(min(m, ROWS * size))
    self.residuals = jax.jit(residuals)
    self.jacobian = jax.jit(jax.jacfwd(residuals, argnums=2))
    self.columns = jax.jit(
      lambda w, z: jax.vmap(lambda v: predict(w, v[None], jnp.ones(1)))(z)
    )

  def of_patterns(self, low, high):
    """As `solve`, without a search; None where no patterns fit."""
    found = patterns.find(self.hidden, self.w, low, high)
    if found is None:
      return None
    v, signs = found
    z = v * signs[:, None]
    return self._share(np.concatenate([z.ravel(), signs])), z, signs

  def solve(self, z):
    """Unexplained share, records (B, b) and residuals (B,) from directions."""
    size = len(z)
    w, target = self.w[self.few], self.target[self.few]
    columns = np.asarray(self.columns(w, z)).reshape(size, -1).T
    r, *_ = np.linalg.lstsq(columns, target.ravel())
    p = self._descend(w, target, np.concatenate([z.ravel(), r]))
    if EXPLAINED < self._share(p) < WORTH_IT:
      p = self._descend(self.w, self.target, p)
    z, r = p[: size * size].reshape(size, size), p[size * size :]
    return self._share(p), z, r

  def doubt(self, z, r, homogeneous: bool) -> str:
    """Why records that explain the gradient may still be others: too few
    equations, or what is left moves the solution too far."""
    p = np.concatenate([z.ravel(), r])
    jacobian = np.asarray(self.jacobian(self.w, self.target, p))
    if len(jacobian) < len(p) + SPARE:
      return (
        f"{len(jacobian)} equations for {len(p)} unknowns leave too little to "
        "check the batch by"
      )
    values = np.linalg.svd(jacobian, compute_uv=False)
    if homogeneous:  # the records' lengths are settled by other means
      values = values[: -len(r)]
    left = max(self._share(p), ARITHMETIC) * np.linalg.norm(self.target)
    if not left <= SURE * np.linalg.norm(z) * values[-1]:
      return "the gradient does not determine the records well enough"
    return ""

  def _share(self, p) -> float:
    left = np.asarray(self.residuals(self.w, self.target, p))
    return float(np.linalg.norm(left) / np.linalg.norm(self.target))

  def _descend(self, w, target, p):
    return optimize.least_squares(
      lambda p: np.asarray(self.residuals(w, target, p)),
      p,
      jac=lambda p: np.asarray(self.jacobian(w, target, p)),
      method="lm",
      xtol=1e-14,
      ftol=1e-14,
      gtol=1e-14,
      max_nfev=EVALUATIONS,
    ).x


def _check(weights, output, gradient, batch, start, starts):
  w, a = np.asarray(weights, float), np.asarray(output, float)
  g = Gradient(*(None if v is None else np.asarray(v, float) for v in gradient))
  if w.ndim != 2 or a.shape != w.shape[:1] or g.output.shape != a.shape:
    raise UserError(
      "gradient wants weights (m, d), output (m,) and its gradient (m,), got "
      f"{w.shape}, {a.shape} and {g.output.shape}"
    )
  if g.hidden is not None and g.hidden.shape != w.shape:
    raise UserError(
      f"the hidden layer's gradient must have shape {w.shape}, "
      f"got {g.hidden.shape}"
    )
  if not all(np.isfinite(v).all() for v in (w, a, *g) if v is not None):
    raise UserError("weights and gradients must be finite")
  if not g.output.any():
    raise UserError("a gradient of 0 says nothing of the records")
  if start not in (None, *STARTS):
    raise UserError(f"start must be one of {', '.join(STARTS)}, got {start!r}")
  if starts < 1:
    raise UserError(f"starts must be at least 1, got {starts}")
  if not 1 <= batch <= w.shape[1]:
    raise UserError(
      f"batch must lie in [1, d = {w.shape[1]}] (records must span their "
      f"space), got {batch}"
    )
  if g.hidden is not None and not a.all():
    raise UserError(
      "output weights that are 0 hide their units; leave them out"
    )
  unknown = batch * (batch + 1)
  equations = len(a) * (1 if g.hidden is None else 1 + batch)
  if equations < unknown:
    raise UserError(
      f"{equations} equations for {unknown} unknowns: the batch of {batch} is "
      f"too large for {len(a)} hidden units"
    )
  return w, a, g
