"""Lower confidence limits on epsilon from attacks. Each name tells what is
assumed beside independent trials:

- `converse.epsilon_lower`: nothing; success of reconstruction.
- `gdp_epsilon_lower`, `gdp_rank_epsilon_lower`: the trade-off of the mechanism
  is Gaussian (full-batch Gaussian noise is; subsampled noise is nearly).
- `dpsgd_epsilon_lower`: it is that of DP-SGD at this sampling and so many
  steps; the noise multiplier alone is in question.
- `threshold_epsilon_lower`: nothing; scores of members and others.
- `one_run.epsilon_lower`: nothing, many canaries in one run.
- `one_run.gdp_epsilon_lower`: a Gaussian trade-off, many canaries in one run.

Every limit is 0 where the measurement says nothing, exceeds the true epsilon in
at most 1 - confidence of repetitions, and is finite, with one exception:
`dpsgd_epsilon_lower` is inf where the draws alone cannot explain the success at
any noise. With two or three records at 95% the assumption-free ones answer 0 or
little more, however clear the scores, and beyond epsilon of about log(trials)
they cannot follow.
"""

import math
import warnings

import dp_accounting
import numpy as np
from scipy import optimize, special, stats

from informed_recon.dp import bounds, checks, intervals, planner

LARGEST_MU = 200.0
MUCH_NOISE = 1e6  # what it would not refute refutes nothing
SIMULATIONS = 20_000  # of the rank statistic of few records
FEW = 400  # pairs


def gdp_epsilon_lower(
  successes: int,
  trials: int,
  kappa: float,
  delta: float,
  confidence: float = 0.95,
) -> float:
  """Epsilon at delta of a Gaussian mechanism, from measured reconstructions.

  mu >= Phi^{-1}(p) - Phi^{-1}(kappa), with p the Clopper-Pearson lower limit of
  success, and epsilon as mu-GDP has it at delta.

  Source: Dong, Roth and Su, 2022, Corollary 2.13; Nasr et al., 2023 (audits by
  the Gaussian trade-off).

  Args:
    successes: trials in which the target was named, or came within eta.
    trials: independent trials, each with its own target and training.
    kappa: blind success, in (0, 1).
    delta: in (0, 1).
    confidence: in (0, 1).

  Raises:
    ValueError: an argument is out of its range.

  >>> round(gdp_epsilon_lower(60, 100, 0.01, 1e-5), 1)
  12.3
  """
  kappa = checks.real("kappa", kappa, "(0, 1]", lambda v: 0 < v <= 1)
  success = intervals.clopper_pearson_lower(successes, trials, confidence)
  if success <= kappa:
    return gaussian_epsilon(0.0, delta)
  return gaussian_epsilon(
    float(special.ndtri(success) - special.ndtri(kappa)), delta
  )


def dpsgd_epsilon_lower(
  successes: int,
  trials: int,
  kappa: float,
  sampling_probability: float,
  steps: int,
  delta: float,
  confidence: float = 0.95,
) -> float:
  """Epsilon of DP-SGD from measured reconstructions, the noise in question.

  The noise multiplier at which `bounds.dpsgd_upper` is the lower limit of
  success; with more noise the bound would be refuted.

  Args:
    successes, trials, kappa, delta, confidence: as in `gdp_epsilon_lower`.
    sampling_probability: q in (0, 1].
    steps: T, at least 1.

  Returns:
    0 where the success says nothing; inf where the draws alone cannot explain
    it at any noise: a record is not drawn that often.

  Raises:
    ValueError: an argument is out of its range.

  >>> round(dpsgd_epsilon_lower(60, 100, 0.01, 1.0, 100, 1e-5), 1)
  12.3
  """
  kappa = checks.real("kappa", kappa, "(0, 1]", lambda v: 0 < v <= 1)
  success = intervals.clopper_pearson_lower(successes, trials, confidence)
  setting = sampling_probability, steps
  if success <= bounds.dpsgd_upper(kappa, MUCH_NOISE, *setting):
    return 0.0
  found = planner.plan(success, *setting, delta, kappa)
  # The success is more than the draws allow where there is no noise at all.
  return found.epsilon if found.noise_multiplier else math.inf


def threshold_epsilon_lower(
  members, others, delta: float = 0.0, confidence: float = 0.95
) -> float:
  """Epsilon from scores of members and others, at the best of many thresholds.

  Thresholds are the scores of fixed ranks among the others (and, for the
  mirrored test, among the members): 1, 2, 4, ... and eighths. The share above
  the k-th largest of n independent scores is Beta(k, n - k + 1), the count of
  the other group above it binomial. A union bound pays for all of them, so that
  the best may be chosen afterwards. Ties are broken at random, as they would be
  by an adversary.

  Source: this project's; limits by Clopper and Pearson, 1934, and the law of
  order statistics.

  Args:
    members: scores of records that were trained on, each of its own training.
    others: scores of records that were not.
    delta: in [0, 1].
    confidence: in (0, 1).

  Raises:
    ValueError: an argument is out of its range.

  >>> rng = np.random.default_rng(0)
  >>> members, others = rng.normal(2, 1, 500), rng.normal(size=500)
  >>> found = threshold_epsilon_lower(members, others)
  >>> 1.5 < found < 3
  True
  """
  a, b = _broken_ties(members, others)
  delta = checks.real("delta", delta, "[0, 1]", lambda v: 0 <= v <= 1)
  level = checks.real("confidence", confidence, "(0, 1)", lambda v: 0 < v < 1)
  tests = [(a, b), (-b, -a)]  # high scores say member; low ones say other
  share = (1 - level) / (2 * sum(len(_ranks(len(n))) for _, n in tests))
  best = 1.0
  for positive, negative in tests:
    ordered = np.sort(negative)[::-1]
    for k in _ranks(len(ordered)):
      false = stats.beta.isf(share, k, len(ordered) - k + 1)
      hits = int(np.sum(positive >= ordered[k - 1]))
      if hits:
        true = special.betaincinv(hits, len(positive) - hits + 1, share)
        best = max(best, (true - delta) / false)
        if true < 1:
          best = max(best, (1 - false - delta) / (1 - true))
  return math.log(best)


def gdp_rank_epsilon_lower(
  members, others, delta: float, confidence: float = 0.95
) -> float:
  """Epsilon of a Gaussian mechanism from the ranks of all scores at once.

  U counts the pairs in which the member scores higher. No test of a mu-GDP
  mechanism lies above the Gaussian trade-off, so that U is at most, in law,
  that of N(mu, 1) against N(0, 1). The answer is the largest mu that U refutes.
  For many pairs U is taken as normal, with its exact mean and variance; for few
  it is simulated; where all members score higher its law is integrated.

  Source: this project's, by Mann and Whitney, 1947; Dong, Roth and Su, 2022.

  Args:
    members, others: as in `threshold_epsilon_lower`.
    delta: in (0, 1).
    confidence: in (0, 1).

  Raises:
    ValueError: an argument is out of its range.

  >>> rng = np.random.default_rng(0)
  >>> found = gdp_rank_epsilon_lower(
  ...   rng.normal(1, 1, 500), rng.normal(size=500), 1e-5)
  >>> 3 < found < 4.4  # the truth is 4.38
  True
  """
  a, b = _broken_ties(members, others)
  level = checks.real("confidence", confidence, "(0, 1)", lambda v: 0 < v < 1)
  n, m = len(a), len(b)
  pairs = int(np.sum(np.searchsorted(np.sort(b), a)))
  tail = _tail_of_ranks(pairs, n, m)
  if tail(0.0) > 1 - level:
    return gaussian_epsilon(0.0, delta)
  high = 1.0
  while tail(high) <= 1 - level:
    high *= 2
    if high > LARGEST_MU:
      break
  mu = optimize.bisect(lambda v: tail(v) - (1 - level), 0.0, high, xtol=1e-6)
  return gaussian_epsilon(max(mu - 1e-6, 0.0), delta)


def gaussian_epsilon(mu: float, delta: float) -> float:
  """Epsilon of mu-GDP at delta; 0 for mu at most 0.

  >>> round(gaussian_epsilon(1.0, 1e-5), 2)
  4.38
  """
  delta = checks.real("delta", delta, "(0, 1)", lambda v: 0 < v < 1)
  if mu <= 0:
    return 0.0
  with np.errstate(divide="ignore"):
    return float(dp_accounting.get_epsilon_gaussian(1 / mu, delta))


def _ranks(count: int) -> list[int]:
  """1, 2, 4, ... and eighths of the count."""
  found = {2**i for i in range(count.bit_length()) if 2**i <= count}
  found |= {max(1, round(count * i / 8)) for i in range(1, 8)}
  return sorted(found)


def _broken_ties(members, others) -> tuple[np.ndarray, np.ndarray]:
  """Ranks in place of scores, ties in random order."""
  parts = [np.asarray(s, dtype=np.float64) for s in (members, others)]
  for name, part in zip(("members", "others"), parts):
    if part.ndim != 1 or not len(part) or not np.all(np.isfinite(part)):
      raise ValueError(
        f"{name} must be a row of finite scores, got shape {part.shape}"
      )
  joint = np.concatenate(parts)
  jitter = np.random.default_rng(0).random(len(joint))
  ranks = np.empty(len(joint))
  ranks[np.lexsort((jitter, joint))] = np.arange(len(joint))
  return ranks[: len(parts[0])], ranks[len(parts[0]) :]


def _tail_of_ranks(pairs: int, n: int, m: int):
  """mu -> P[U >= pairs] for n draws of N(mu, 1) and m of N(0, 1)."""
  nodes, law = np.polynomial.hermite_e.hermegauss(80)
  law = law / law.sum()
  if pairs == n * m:
    x = np.linspace(-12, 12, 4001)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      top = m * np.exp(stats.norm.logpdf(x) + (m - 1) * special.log_ndtr(x))
    return lambda mu: float(
      np.trapezoid(top * np.exp(n * special.log_ndtr(mu - x)), x)
    )
  if n * m <= FEW:
    rng = np.random.default_rng(0)
    up, down = (rng.standard_normal((SIMULATIONS, k)) for k in (n, m))
    gaps = np.sort((down[:, None] - up[:, :, None]).reshape(SIMULATIONS, -1))
    # U >= pairs once mu exceeds the gap of that rank.
    needed = gaps[:, pairs - 1] if pairs else np.full(SIMULATIONS, -np.inf)
    return lambda mu: (1 + np.sum(needed < mu)) / (1 + SIMULATIONS)

  def tail(mu: float) -> float:
    above = special.ndtr(mu / math.sqrt(2))
    both = law @ special.ndtr(mu + nodes) ** 2
    variance = n * m * (above * (1 - above) + (n + m - 2) * (both - above**2))
    return float(
      special.ndtr((n * m * above + 0.5 - pairs) / math.sqrt(variance))
    )

  return tail
