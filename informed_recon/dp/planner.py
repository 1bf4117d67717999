"""How much noise keeps reconstruction below a wanted success rate."""

import math
from collections.abc import Callable
from typing import NamedTuple

from scipy import special

from informed_recon.dp import accounting, bounds, checks

# How far above the least noise multiplier an answer may lie, relatively.
EXACT, PRECISION = 1e-9, 1e-4  # full batch; sampled
LARGEST_NOISE = 1e12  # beyond it a bound cannot be told from kappa


class Plan(NamedTuple):
  """A noise multiplier and what it buys."""

  noise_multiplier: float
  success_upper: float  # on reconstruction, at most what was asked
  epsilon: float  # at the delta asked for, nats
  membership_advantage_upper: float  # on TPR - FPR of any membership test


def plan(
  max_success: float,
  sampling_probability: float,
  steps: int,
  delta: float,
  kappa: float | None = None,
  *,
  log_kappa: float | None = None,
) -> Plan:
  """The least noise whose `bounds.dpsgd_upper` is at most `max_success`.

  Found by bisection, as the bound falls with the noise: it is kept at the
  answer and exceeded at the answer divided by 1 + `PRECISION`. For q = 1 the
  answer is sqrt(T) / (Phi^{-1}(max_success) - Phi^{-1}(kappa)), to `EXACT`.

  Relation: add one record, the target, to those known; epsilon is for adding
  or removing one.
  Sources: those of `bounds.dpsgd_upper` and `accounting.dpsgd_epsilon`.

  Args:
    max_success: highest tolerable reconstruction success, in (kappa, 1).
    sampling_probability: q in (0, 1].
    steps: T, at least 1.
    delta: at which epsilon is given, in (0, 1); see `dpsgd_epsilon`.
    kappa: blind success, in (0, 1].
    log_kappa: log of kappa, in place of it.

  Returns:
    The plan; its noise multiplier is 0 where records are drawn so rarely that
    no noise is needed (epsilon is then infinite, unless delta pays for it).

  Raises:
    ValueError: an argument is out of its range, or kappa is so near to
      max_success that no noise can be told to suffice.

  >>> round(plan(0.5, 1.0, 100, 1e-5, 0.125).noise_multiplier, 2)
  8.69
  """
  log_k = checks.log_kappa_of(kappa, log_kappa).item()
  target = checks.real("max_success", max_success, "(0, 1)", _inside_unit)
  _, q, steps = checks.dpsgd_arguments(1.0, sampling_probability, steps)
  accounting.dpsgd_epsilon(math.inf, q, steps, delta)  # delta, before any work
  if log_k >= math.log(target):
    raise ValueError(
      f"max_success must lie in (kappa, 1), got {max_success!r}: "
      "a blind guess already succeeds that often"
    )

  def success(sigma: float, method: str = "best") -> float:
    return bounds.dpsgd_upper(None, sigma, q, steps, method, log_kappa=log_k)

  def least(method: str) -> float:
    guess = _guess(log_k, target, q, steps)
    return _least(lambda s: success(s, method) <= target, guess, precision)

  precision = EXACT if q == 1 else PRECISION
  sigma = least("pld")
  # Slower, and of use only where kappa is near the floor of the deltas.
  if success(sigma / (1 + precision), "rdp") <= target:
    sigma = least("rdp")
  if math.isinf(sigma):
    raise ValueError(
      f"max_success must lie farther above kappa, got {max_success!r}: no "
      f"noise multiplier up to {LARGEST_NOISE:g} can be told to suffice"
    )
  return Plan(
    noise_multiplier=sigma,
    success_upper=success(sigma),
    epsilon=accounting.dpsgd_epsilon(sigma, q, steps, delta),
    membership_advantage_upper=accounting.membership_advantage_upper(
      sigma, q, steps
    ),
  )


def forward(
  noise_multiplier: float,
  sampling_probability: float,
  steps: int,
  delta: float,
  kappa: float | None = None,
  *,
  log_kappa: float | None = None,
) -> Plan:
  """What a run that has been trained, or is to be, allows.

  Relation, sources and arguments: as for `plan`; noise_multiplier in [0, inf].

  >>> round(forward(8.69, 1.0, 100, 1e-5, 0.125).success_upper, 2)
  0.5
  """
  setting = noise_multiplier, sampling_probability, steps
  return Plan(
    noise_multiplier=float(noise_multiplier),
    success_upper=bounds.dpsgd_upper(kappa, *setting, log_kappa=log_kappa),
    epsilon=accounting.dpsgd_epsilon(*setting, delta),
    membership_advantage_upper=accounting.membership_advantage_upper(*setting),
  )


def warnings_of(
  found: Plan,
  sampling_probability: float,
  steps: int,
  delta: float,
  records: int,
) -> list[str]:
  """What about an answer would mislead whoever reads the number alone.

  >>> rare = plan(0.1, 1e-5, 100, 1e-5, 0.01)
  >>> [text.split(":")[0] for text in warnings_of(rare, 1e-5, 100, 1e-5, 10**6)]
  ['the noise multiplier is 0', 'delta is not below 1 / records']
  """
  drawn = accounting.drawn_probability(sampling_probability, steps)
  said = []
  if found.noise_multiplier == 0:
    said.append(
      "the noise multiplier is 0: a record is drawn with probability "
      f"{drawn:.3g} only, which keeps the goal by itself, but the records that "
      "are drawn are protected by nothing"
    )
  if found.success_upper > 0.99:
    said.append(
      "the bound says nothing: it allows success in "
      f"{found.success_upper:.2%} of cases"
    )
  if math.isfinite(found.epsilon) and found.epsilon > 20:
    said.append(
      f"epsilon is {found.epsilon:.3g}: no protection against a membership "
      "test follows from it"
    )
  if delta * records >= 1:
    said.append(
      f"delta is not below 1 / records: {delta:g} allows to publish a record "
      "outright"
    )
  return said


def _guess(log_k: float, target: float, q: float, steps: int) -> float:
  """Exact for q = 1; else where central limits rule (Bu et al., 2020)."""
  mu = float(special.ndtri(target) - special.ndtri_exp(log_k))
  if q == 1:
    return math.sqrt(steps) / mu
  return 1 / math.sqrt(math.log1p((mu / q) ** 2 / steps))


def _least(
  holds: Callable[[float], bool], guess: float, precision: float
) -> float:
  """The least number from which on `holds`, or slightly more; inf if none."""
  if holds(0.0):
    return 0.0
  low = high = guess
  factor = 1 + precision
  while not holds(high):
    low, high, factor = high, high * factor, factor**4
    if high > LARGEST_NOISE:
      return math.inf
  while holds(low):
    low, high, factor = low / factor, low, factor**4
  while high > low * (1 + precision):
    middle = math.sqrt(low * high)
    low, high = (low, middle) if holds(middle) else (middle, high)
  return high


def _inside_unit(value: float) -> bool:
  return 0 < value < 1
