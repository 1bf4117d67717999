"""Epsilon from a single training run with many canaries."""

import numpy as np
from scipy import special, stats

from informed_recon.dp import audit, checks


def epsilon_lower(
  canaries: int,
  guesses: int,
  correct: int,
  delta: float = 0.0,
  confidence: float = 0.95,
) -> float:
  """Epsilon from one training run with many canaries, each in or out at random.

  Each canary is in with probability 1/2; some are guessed about. Under
  (epsilon, delta)-DP the number of right guesses exceeds v with probability at
  most P[B >= v] + 2 m delta max_i P[v - i <= B < v] / i, B binomial with
  probability e^eps / (1 + e^eps). The answer is the largest epsilon refuted.

  Source: Steinke, Nasr and Jagielski, 2023, Theorem 5.2.

  Args:
    canaries: m, those that were tossed for.
    guesses: how many of them were guessed about.
    correct: how many of these guesses were right.
    delta: in [0, 1].
    confidence: in (0, 1).

  Raises:
    ValueError: an argument is out of its range.

  >>> round(epsilon_lower(1000, 100, 95), 2)
  2.17
  """
  m, r, v, delta, beta = _one_run(canaries, guesses, correct, delta, confidence)
  back = np.arange(1, v + 1)

  def p_value(epsilon: float) -> float:
    law = stats.binom(r, special.expit(epsilon))
    tail = law.sf(v - 1)
    within = law.cdf(v - 1) - law.cdf(v - 1 - back)
    return tail + 2 * m * delta * np.max(within / back, initial=0.0)

  return _largest_refuted(p_value, beta)


def gdp_epsilon_lower(
  canaries: int,
  guesses: int,
  correct: int,
  delta: float,
  confidence: float = 0.95,
) -> float:
  """The same under the assumption of a Gaussian trade-off, which says more.

  Source: Mahloujifar, Melis and Chaudhuri, 2024 ("Auditing f-differential
  privacy in one run", for in-or-out canaries).

  Args: as in `epsilon_lower`, with delta in (0, 1).

  Raises:
    ValueError: an argument is out of its range.

  >>> found = gdp_epsilon_lower(1000, 100, 95, 1e-5)
  >>> found > epsilon_lower(1000, 100, 95, 1e-5)
  True
  """
  m, r, v, delta, beta = _one_run(canaries, guesses, correct, delta, confidence)
  if v == 0:
    return 0.0

  def refuted(mu: float) -> bool:
    """Whether so many right guesses have probability below beta."""
    right, wrong = beta * v / m, beta * (r - v) / m
    for i in range(v - 1, -1, -1):
      shrunk = special.ndtr(special.ndtri(min(right, 1.0)) - mu)
      if shrunk <= wrong:
        break
      right = min(1.0, right + i / (r - i) * (shrunk - wrong))
      wrong = shrunk
    return right + wrong > r / m

  if not refuted(0.0):
    return 0.0
  low, high = 0.0, 1.0
  while refuted(high) and high < audit.LARGEST_MU:
    low, high = high, 2 * high
  for _ in range(50):
    middle = (low + high) / 2
    low, high = (middle, high) if refuted(middle) else (low, middle)
  return audit.gaussian_epsilon(low, delta)


def _one_run(canaries, guesses, correct, delta, confidence):
  def count(name, value, low, high):
    return int(
      checks.real(
        name,
        value,
        f"the integers from {low} to {high}",
        lambda v: low <= v <= high and v % 1 == 0,
      )
    )

  m = count("canaries", canaries, 1, 10**9)
  r = count("guesses", guesses, 1, m)
  v = count("correct", correct, 0, r)
  delta = checks.real("delta", delta, "[0, 1]", lambda x: 0 <= x <= 1)
  level = checks.real("confidence", confidence, "(0, 1)", lambda x: 0 < x < 1)
  return m, r, v, delta, 1 - level


def _largest_refuted(p_value, beta: float) -> float:
  if p_value(0.0) > beta:
    return 0.0
  low, high = 0.0, 1.0
  while p_value(high) <= beta and high < 100:
    low, high = high, 2 * high
  for _ in range(50):
    middle = (low + high) / 2
    low, high = (middle, high) if p_value(middle) <= beta else (low, middle)
  return low
