"""Training records out of a classifier's weights, no record known.

A homogeneous network, f(c θ; x) = c^L f(θ; x), trained long enough by gradient
descent on a classification loss points where a margin is largest (Lyu and Li
2020; Ji and Telgarsky 2020): its parameters are a sum over training records,

  θ = (1/m) Σ_i λ_i ∇_θ Φ_i(θ; x_i),   λ_i >= 0,

Φ the margin: ±f for two classes, f_y - max_{j≠y} f_j for more. The attack looks
for m records and multipliers that satisfy it (Haim et al. 2022; Buzaglo et al.
2023): it minimises

  ‖θ - (1/m) Σ λ_i ∇Φ_i(x_i)‖² + 5 Σ relu(λ_min - λ_i)² + Σ (x_i - [lo, hi])²

by gradient descent with momentum, from small random records, labels balanced.
The ReLU's derivative, a step, is replaced by σ(α ·). What is new here:

* Every gradient of a dense first layer is a sum of records, so its kernel less
  its start lies in their span, and a start that is small does not hide it. The
  records are sought in that span alone: of a model of n records n unknowns each
  in the place of d, and a network n inputs wide.
* Scales and rates are found by successive halving over random choices (Jamieson
  and Talwalkar 2016), all of them side by side under vmap, judged by the share
  of θ that stays unexplained, and never by a record.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from informed_recon.types import UserError

# (params, x (B, d), relu) -> logits (B, K), or (B, 1) for two classes
Network = Callable[[Any, jax.Array, Callable], jax.Array]

MOMENTUM = 0.9
FLOOR_WEIGHT = 5.0  # of λ below λ_min
EDGE = 1.05  # singular values above the largest of a random start, to count
CHUNK = 250  # steps a call
MOST_STEPS = 8000  # a round
# Of the random choices, log-uniform: as in the public code of Buzaglo et al.
RANGES = dict(
  scale=(1e-6, 0.1),
  rate_x=(1e-5, 1.0),
  rate_multiplier=(1e-5, 1.0),
  least=(0.01, 0.5),
  sharpness=(10.0, 500.0),
)


class Settings(NamedTuple):
  """One choice, or arrays of many."""

  scale: Any  # standard deviation of the first records
  rate_x: Any
  rate_multiplier: Any
  least: Any  # λ_min
  sharpness: Any  # α


class Found(NamedTuple):
  """What satisfies the equation best."""

  x: np.ndarray  # (m, d)
  y: np.ndarray  # (m,) labels
  multiplier: np.ndarray  # (m,) λ
  residual: float  # share of θ's norm that stays unexplained
  settings: Settings
  residuals: np.ndarray  # (rounds,) of the best choice after each round


def smooth_relu(sharpness) -> Callable:
  """ReLU whose derivative is σ(α ·), differentiable in turn."""

  @jax.custom_jvp
  def relu(a):
    return jax.nn.relu(a)

  @relu.defjvp
  def _(primals, tangents):
    (a,), (t,) = primals, tangents
    return relu(a), jax.nn.sigmoid(sharpness * a) * t

  return relu


def margins(logits: jax.Array, y: jax.Array) -> jax.Array:
  """(B,) Φ of logits (B, K) and labels (B,); of (B, 1), labels 0 and 1."""
  if logits.shape[-1] == 1:
    return (2 * y - 1) * logits[:, 0]
  own = jax.nn.one_hot(y, logits.shape[-1], dtype=bool)
  others = jnp.where(own, -jnp.inf, logits)
  return jnp.where(own, logits, 0).sum(-1) - others.max(-1)


def explained(network: Network, params, x, y, multiplier, sharpness):
  """(1/m) Σ λ_i ∇Φ_i(x_i), a pytree like params."""

  def total(params):
    logits = network(params, x, smooth_relu(sharpness))
    return jnp.mean(multiplier * margins(logits, y))

  return jax.grad(total)(params)


def degree(network: Network, params, d: int) -> float:
  """L of a homogeneous network of records with d features.

  Raises:
    UserError: it is not homogeneous, or returns no logits (B, K).
  """
  x = jax.random.normal(jax.random.key(0), (16, d))
  one, two, four = (
    np.asarray(
      network(jax.tree.map(lambda a, c=c: c * a, params), x, jax.nn.relu)
    )
    for c in (1.0, 2.0, 4.0)
  )
  if one.ndim != 2 or not one.any():
    raise UserError(
      f"network must map records (B, {d}) to logits (B, K) that are not all 0, "
      f"got shape {one.shape}"
    )
  found = float(np.log2(np.linalg.norm(two) / np.linalg.norm(one)))
  for c, scaled in ((2.0, two), (4.0, four)):
    gap = np.abs(scaled - c**found * one).max() / np.abs(scaled).max()
    if not gap < 1e-3:
      raise UserError(
        "the network is not homogeneous in its parameters: "
        f"{c:g} times them makes other outputs than {c:g}^L times as large "
        f"(off by {gap:.0%}); biases may stand in the first layer alone, and "
        "the activation must be a ReLU"
      )
  return found


def span(kernel: np.ndarray) -> np.ndarray:
  """(d, r) basis of the records that a first layer's kernel (d, h) is a sum of:
  its singular vectors that stand out of a random start of any one scale.

  Raises:
    UserError: none or most of them do.
  """
  left, values, _ = np.linalg.svd(kernel, full_matrices=False)
  noise = np.random.default_rng(0).normal(size=kernel.shape)
  noise = np.linalg.svd(noise, compute_uv=False)
  edge = EDGE * np.median(values) / np.median(noise) * noise[0]
  rank = int((values > edge).sum())
  if not 0 < rank < len(values) / 2:
    raise UserError(
      f"{rank} of {len(values)} singular values of the first layer stand out "
      "of a random start: it saw about as many records as it has inputs or "
      "units, or none; use in_span=False"
    )
  return left[:, :rank]


def reconstruct(
  network: Network,
  params: Mapping[str, Any],
  count: int,
  *,
  first: str,
  bounds: tuple[Any, Any],
  in_span: bool = True,
  choices: int = 16,
  steps: int = 500,
  key: jax.Array | None = None,
) -> Found:
  """Looks for records that a trained homogeneous classifier is a sum of.

  Nothing is vouched for: many sets of records satisfy the equation about as
  well, and some of those found are mixtures. What they are worth is measured
  against a model of other records (`evaluation.coverage`).

  Args:
    network: (params, x (B, d), relu) -> logits (B, K), (B, 1) for two classes;
      `relu` is what it must use as its activation.
    params: a dict of arrays, as released.
    count: m, records to look for; twice those that there are works well. Their
      labels go through the classes in turn.
    first: the key of the kernel (d, h) that alone sees the record.
    bounds: least and largest value of each feature, as the network sees it.
    in_span: look in the span of the kernel alone.
    choices: of scales and rates; halved every round.
    steps: of the first round; each round takes twice as many, up to 8,000.
    key: of the random choices.

  Raises:
    UserError: a network that is not homogeneous, a kernel that is not there, or
      fewer equations than unknowns.
  """
  if first not in params or np.ndim(params[first]) != 2:
    raise UserError(
      f"first must name the kernel (d, h) that sees the record, one of "
      f"{sorted(params)}, got {first!r}"
    )
  kernel = np.asarray(params[first])
  degree(network, params, len(kernel))
  basis = span(kernel) if in_span else np.eye(len(kernel))
  basis = np.float32(basis)
  params = dict(params) | {first: basis.T @ kernel}
  params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
  equations = sum(a.size for a in jax.tree.leaves(params))
  rank = basis.shape[1]
  if not 0 < count * (rank + 1) <= equations:
    raise UserError(
      f"{equations} equations for {count * (rank + 1)} unknowns ({count} "
      f"records with {rank} numbers and a multiplier each): give a count of 1 "
      f"to {equations // (rank + 1)}"
    )
  logits = network(params, jnp.zeros((1, rank)), jax.nn.relu)
  y = jnp.arange(count) % max(logits.shape[1], 2)
  run = _make(network, basis, y, bounds)
  for_settings, for_x, for_multiplier = jax.random.split(
    jax.random.key(0) if key is None else key, 3
  )
  settings = _draw(for_settings, choices)
  x = jax.random.normal(for_x, (choices, count, rank))
  x = settings.scale[:, None, None] * x
  multiplier = jax.random.uniform(for_multiplier, (choices, count))
  state = (x, multiplier, jnp.zeros_like(x), jnp.zeros_like(multiplier))
  history = []
  while True:
    for _ in range(-(-steps // CHUNK)):
      state, residual = run(params, settings, state)
    residual = np.nan_to_num(np.asarray(residual), nan=np.inf)
    history.append(residual.min())
    if len(residual) == 1:
      break
    best = np.argsort(residual)[: (len(residual) + 1) // 2]
    settings, state = jax.tree.map(
      lambda a, best=best: a[best], (settings, state)
    )
    steps = min(2 * steps, MOST_STEPS)
  x, multiplier = (np.asarray(a[0]) for a in state[:2])
  return Found(
    x=x @ basis.T,
    y=np.asarray(y),
    multiplier=multiplier,
    residual=float(residual[0]),
    settings=Settings(*(float(a[0]) for a in settings)),
    residuals=np.array(history),
  )


def _draw(key, choices: int) -> Settings:
  rows = jax.random.uniform(key, (len(Settings._fields), choices))
  return Settings(
    *(
      jnp.exp(jnp.log(low) + u * jnp.log(high / low))
      for u, (low, high) in zip(rows, (RANGES[f] for f in Settings._fields))
    )
  )


def _make(network: Network, basis, y, bounds):
  """Jitted `(params, settings, state) -> (state, residuals)` of all choices,
  `CHUNK` steps."""
  low, high = (jnp.asarray(b, jnp.float32) for b in bounds)
  basis = jnp.asarray(basis, jnp.float32)

  def unexplained(params, x, multiplier, sharpness):
    sum_ = explained(network, params, x, y, multiplier, sharpness)
    return optax.tree.norm(optax.tree.sub(params, sum_), squared=True)

  def objective(records, params, setting):
    x, multiplier = records
    pixels = x @ basis.T
    outside = jax.nn.relu(low - pixels) + jax.nn.relu(pixels - high)
    short = jax.nn.relu(setting.least - multiplier)
    misfit = unexplained(params, x, multiplier, setting.sharpness)
    return (
      misfit + FLOOR_WEIGHT * jnp.sum(short**2) + jnp.sum(outside**2)
    ), misfit

  def one(params, setting, state):
    def step(state, _):
      x, multiplier, push_x, push_m = state
      (g_x, g_m), misfit = jax.grad(objective, has_aux=True)(
        (x, multiplier), params, setting
      )
      push_x = MOMENTUM * push_x - setting.rate_x * g_x
      push_m = MOMENTUM * push_m - setting.rate_multiplier * g_m
      return (x + push_x, multiplier + push_m, push_x, push_m), misfit

    state, misfits = jax.lax.scan(step, state, None, CHUNK)
    size = optax.tree.norm(params, squared=True)
    return state, jnp.sqrt(misfits[-1] / size)

  return jax.jit(jax.vmap(one, in_axes=(None, 0, 0)))
