"""Exact confidence limits on a probability from a count."""

from scipy import special

from informed_recon.dp import checks


def clopper_pearson_lower(
  successes: int, trials: int, confidence: float = 0.95
) -> float:
  """Lower confidence limit on a success probability, one-sided and exact.

  The largest p with P[Binomial(trials, p) >= successes] <= 1 - confidence, a
  quantile of Beta(successes, trials - successes + 1). The limit lies above the
  true probability in at most 1 - confidence of all repetitions, whatever that
  probability is.

  Source: Clopper and Pearson, 1934.

  Raises:
    ValueError: no trials, a count outside [0, trials], or a confidence
      outside (0, 1).

  >>> round(clopper_pearson_lower(60, 100, confidence=0.95), 4)
  0.513
  """
  k, n, beta = _arguments(successes, trials, confidence)
  return 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, beta))


def clopper_pearson_upper(
  successes: int,
  trials: int,
  confidence: float = 0.95,
) -> float:
  """Upper confidence limit on a success probability, one-sided and exact.

  The mirror image of `clopper_pearson_lower`, from the upper tail of
  Beta(successes + 1, trials - successes).

  Source: Clopper and Pearson, 1934.

  >>> round(clopper_pearson_upper(0, 100, confidence=0.95), 4)
  0.0295
  """
  return upper_limit(*_arguments(successes, trials, confidence))


def clopper_pearson(
  successes: int, trials: int, confidence: float = 0.95
) -> tuple[float, float]:
  """Two-sided interval: either limit errs with half of 1 - confidence at most.

  Source: Clopper and Pearson, 1934.

  Raises:
    ValueError: as for `clopper_pearson_lower`.

  >>> [round(limit, 4) for limit in clopper_pearson(60, 100, confidence=0.95)]
  [0.4972, 0.6967]
  """
  k, n, beta = _arguments(successes, trials, confidence)
  one_sided = 1 - beta / 2
  return (
    clopper_pearson_lower(k, n, one_sided),
    clopper_pearson_upper(k, n, one_sided),
  )


def upper_limit(successes: int, trials: int, tail: float) -> float:
  """The upper limit that is too low with probability `tail` at most.

  Takes the tail itself, which under a union bound over thousands of points is
  too small to be told from 1 - confidence.
  """
  if successes == trials:
    return 1.0
  return float(special.betainccinv(successes + 1, trials - successes, tail))


def _arguments(successes, trials, confidence) -> tuple[int, int, float]:
  n = checks.real(
    "trials", trials, "the integers from 1", lambda v: v >= 1 and v % 1 == 0
  )
  k = checks.real(
    "successes",
    successes,
    f"the integers from 0 to trials = {trials}",
    lambda v: 0 <= v <= n and v % 1 == 0,
  )
  level = checks.real("confidence", confidence, "(0, 1)", lambda v: 0 < v < 1)
  return int(k), int(n), 1 - level
