"""What every public function does with its arguments and its answer."""

import math
from collections.abc import Callable

import numpy as np


def real(
  name: str, value, allowed: str, holds: Callable[[float], bool]
) -> float:
  """Returns `value` as a float, or says which range `name` must lie in.

  Args:
    name: the argument, as the caller of the public function spells it.
    value: what the caller gave.
    allowed: the range in words or interval notation, for the message.
    holds: the same range as a predicate; NaN must fail it.

  Raises:
    ValueError: `value` is no single number or lies outside the range.
  """
  try:
    number = float(value)
  except (TypeError, ValueError):
    number = math.nan
  if not holds(number):
    raise ValueError(f"{name} must lie in {allowed}, got {value!r}")
  return number


def dpsgd_arguments(
  noise_multiplier, sampling_probability, steps
) -> tuple[float, float, int]:
  """Checks what every question about DP-SGD has in common."""
  sigma = nonnegative("noise_multiplier", noise_multiplier)
  q = real(
    "sampling_probability", sampling_probability, "(0, 1]", lambda v: 0 < v <= 1
  )
  count = real(
    "steps",
    steps,
    "the integers from 1",
    lambda v: 1 <= v < math.inf and v == int(v),
  )
  return sigma, q, int(count)


def method(name: str, known: tuple[str, ...]) -> str:
  """Checks the name of an accounting method."""
  if name not in known:
    raise ValueError(f"method must be one of {', '.join(known)}, got {name!r}")
  return name


def nonnegative(name: str, value) -> float:
  """Checks a number that may be 0 and may be infinite."""
  return real(name, value, "[0, inf]", lambda v: v >= 0)


def log_kappa_of(kappa, log_kappa) -> np.ndarray:
  """The logarithm of whichever of the two was given, checked."""
  if (kappa is None) == (log_kappa is None):
    raise ValueError("give one of kappa, in (0, 1], and log_kappa")
  if kappa is None:
    log_k = np.asarray(log_kappa, dtype=np.float64)
    if not np.all((log_k <= 0) & np.isfinite(log_k)):
      raise ValueError(f"log_kappa must lie in (-inf, 0], got {log_kappa!r}")
    return log_k
  given = np.asarray(kappa, dtype=np.float64)
  if not np.all((given > 0) & (given <= 1)):
    raise ValueError(f"kappa must lie in (0, 1], got {kappa!r}")
  return np.log(given)


def probability(gamma: np.ndarray):
  """Caps a bound at 1, and keeps underflow from turning it into 0."""
  capped = np.clip(gamma, np.finfo(np.float64).smallest_subnormal, 1.0)
  return float(capped) if np.ndim(capped) == 0 else capped
