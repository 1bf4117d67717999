"""What can be had of unknown records at all, before any search.

What is seen of a release, θ(z), is a function of the unknown records z. With
J = ∂θ/∂z and independent noise of standard deviation s in each number seen, no
unbiased estimate of z has a smaller covariance than the inverse of the Fisher
information

  F = Jᵀ diag(1/s²) J  (Rao 1945; Cramér 1946),

and z is locally identifiable where F is regular (Rothenberg 1971). Where z is
known beforehand to within a spread τ, the covariance is (F + diag(1/τ²))⁻¹,
that of a Gaussian linear model. All of it is local: it says how well z is told
from its neighbours, not whether another record far away looks the same, and
not whether a search finds it.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from informed_recon import tree
from informed_recon.types import UserError

COLUMNS = 32  # of J at a time
RANK = 1e-6  # least singular value over the largest that counts as known
ARITHMETIC = 8  # units of the last place that training itself is unsure of
MEMORY = 4e9  # bytes that J may take


class View(NamedTuple):
  """What is seen of a release, and how finely."""

  # Names such as "params/head/kernel", or parts of them such as "head"; none:
  # all are seen.
  leaves: Sequence[str] = ()
  # What the numbers are published in: a floating-point format of jax, or int8
  # with a scale for each array; None: they are not rounded.
  rounding: str | None = "float32"
  noise: float = 0.0  # standard deviation of what is added to each number


class Identifiability(NamedTuple):
  """What a view tells of k records with d unknowns each."""

  seen: int  # numbers
  unknowns: int  # k d
  rank: int  # directions of the unknowns that change what is seen
  condition: float  # largest over smallest singular value of J; inf
  error: np.ndarray  # (k, *shape) predicted standard error; inf where unknown
  message: str  # why not everything can be had; empty where it can

  @property
  def rms(self) -> float:
    """Predicted rms error a feature."""
    return float(np.sqrt(np.mean(np.square(self.error))))


def identifiability(
  seen: Callable[[Any], Any],
  x: np.ndarray,
  views: Mapping[str, View] | None = None,
  *,
  spread: Any = np.inf,
) -> dict[str, Identifiability]:
  """How well each view of a release tells k unknown records.

  What `seen` is depends on what the adversary knows. If it can run the
  training, `seen` maps the records to the parameters. If it knows the objective
  and the parameters are a stationary point of it, `seen` maps the records (with
  labels y) to their gradient there,

    lambda x: jax.grad(
      lambda p: jax.vmap(loss, (None, 0, 0))(p, x, y).sum()
    )(params),

  and the noise is that of this gradient: `View(rounding=None, noise=...)`.

  Args:
    seen: (k, *shape) -> pytree of arrays; pure and differentiable.
    x: (k, *shape) the records, or a guess of them; float64 is kept.
    views: by name; by default `views_of` what is seen.
    spread: τ of each feature, broadcast to x; inf where nothing is known.

  Returns:
    An `Identifiability` for each view, under its name; errors are in the units
    of x.

  Raises:
    UserError: no finite derivative, a view of nothing, or too many unknowns.
  """
  x = np.asarray(x)
  if x.dtype.kind != "f" or x.ndim < 2:
    raise UserError(
      f"x must be real records (k, ...), got {x.dtype} of shape {x.shape}"
    )
  with jax.enable_x64(x.dtype == np.float64):
    values = jax.device_get(seen(jnp.asarray(x)))
    size = x.size * sum(np.size(a) for a in jax.tree.leaves(values))
    if 8 * size > MEMORY:
      raise UserError(
        f"J of {x.size} unknowns takes {8 * size / 1e9:.1f} GB; look at fewer "
        "records at a time"
      )
    jacobian = jax.device_get(jax.jit(functools.partial(columns, seen))(x))
  leaves = tree.layout(values)
  values = [np.asarray(a, float).ravel() for a in jax.tree.leaves(values)]
  rows = [
    np.asarray(a, float).reshape(x.size, -1).T
    for a in jax.tree.leaves(jacobian)
  ]
  if not all(np.isfinite(a).all() for a in rows):
    raise UserError(
      "what is seen has no finite derivative in the records; Adam and its like "
      "have none where a gradient is 0, unless they have an eps_root"
    )
  prior = np.broadcast_to(np.asarray(spread, float), x.shape).ravel()
  if not (np.isposinf(prior).all() or (np.isfinite(prior) & (prior > 0)).all()):
    raise UserError(
      "spread must be finite and above 0, or inf for all features"
    )
  names = [leaf.name for leaf in leaves]
  found = {}
  for name, view in (views or views_of(names)).items():
    picked = _picked(names, view)
    noise = [deviation(values[i], view) for i in picked]
    scaled = [rows[i] / noise[k][:, None] for k, i in enumerate(picked)]
    found[name] = _judge(np.concatenate(scaled), prior, x.shape)
  return found


def columns(function: Callable, x: jax.Array) -> Any:
  """∂function/∂x with an axis of x.size in front of what it returns."""
  _, forward = jax.linearize(function, x)
  basis = jnp.eye(x.size, dtype=x.dtype).reshape(x.size, *x.shape)
  return jax.lax.map(forward, basis, batch_size=COLUMNS)


def views_of(names: Sequence[str]) -> dict[str, View]:
  """All numbers, as float32, bfloat16 and int8, and each layer alone."""
  layers = dict.fromkeys(name.rpartition("/")[0] or name for name in names)
  views = {"all": View()}
  if len(layers) > 1:
    views |= {layer: View((layer,)) for layer in layers}
  for kind in ("bfloat16", "int8"):
    views[f"all, {kind}"] = View(rounding=kind)
  return views


def deviation(values: np.ndarray, view: View) -> np.ndarray:
  """(P,) standard deviation of the noise in each number of an array: of
  rounding, step / √12; of float arithmetic; and of what is added."""
  top = np.abs(values).max(initial=0.0) or 1.0
  if view.rounding is None:
    step, arithmetic = np.zeros_like(values), 0.0
  else:
    own = view.rounding if view.rounding == "float64" else "float32"
    arithmetic = ARITHMETIC * float(jnp.finfo(own).eps) * top
    if view.rounding == "int8":
      step = np.full_like(values, top / 127)
    else:
      eps = float(jnp.finfo(view.rounding).eps)
      with np.errstate(divide="ignore"):
        step = eps * 2.0 ** np.floor(np.log2(np.abs(values)))
  noise = np.sqrt(step**2 / 12 + arithmetic**2 + view.noise**2)
  if not (noise > 0).all():
    raise UserError("a view that is not rounded wants noise= above 0")
  return noise


def _picked(names: Sequence[str], view: View) -> list[int]:
  wanted = (view.leaves,) if isinstance(view.leaves, str) else view.leaves
  if not wanted:
    return list(range(len(names)))
  found = [
    {i for i, name in enumerate(names) if f"/{part}/" in f"/{name}/"}
    for part in wanted
  ]
  for part, ids in zip(wanted, found):
    if not ids:
      raise UserError(
        f"no leaf is called {part!r}; there are {', '.join(names)}"
      )
  return sorted(set().union(*found))


def _judge(rows: np.ndarray, spread: np.ndarray, shape) -> Identifiability:
  """Of J over its noise, (P, m), by its singular values."""
  seen, unknowns = rows.shape
  informed = np.isfinite(spread).all()
  scale = spread if informed else np.ones(unknowns)
  rows = rows * scale
  if seen > unknowns:
    rows = scipy.linalg.qr(rows, mode="r", check_finite=False)[0][:unknowns]
  _, values, basis = scipy.linalg.svd(rows)
  values = np.pad(values, (0, unknowns - len(values)))
  told = values > RANK * values[0]
  share = np.square(basis.T)  # of a feature that lies along each direction
  if informed:
    variance = share @ (1 / (np.square(values) + 1))
  else:
    variance = share[:, told] @ (1 / np.square(values[told]))
    variance[share[:, ~told].sum(1) > RANK] = np.inf
  rank = int(told.sum())
  why = ""
  if seen < unknowns:
    why = f"fewer numbers are seen ({seen}) than are unknown ({unknowns})"
  elif rank < unknowns:
    why = f"{unknowns - rank} directions change nothing that is seen"
  return Identifiability(
    seen=seen,
    unknowns=unknowns,
    rank=rank,
    condition=float(values[0] / values[-1]) if rank == unknowns else np.inf,
    error=(np.sqrt(variance) * scale).reshape(shape),
    message=why,
  )
