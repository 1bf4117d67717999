"""How batches are drawn, and which accountant is right for it."""

import math

from informed_recon.dp import checks

SCHEMES = ("poisson", "shuffle", "balls_in_bins")


def effective(
  scheme: str, sampling_probability: float, steps: int
) -> tuple[float, int]:
  """The Poisson setting whose guarantees hold for a way to draw batches.

  - "poisson": every record in every step with probability q: itself.
  - "shuffle": a new permutation every epoch, cut into batches; an incomplete
    last one is dropped.
  - "balls_in_bins": every epoch each record goes to one of its steps,
    independently (Chua et al., 2024).
  For the last two an epoch has `steps_per_epoch`, and a record takes part once
  in it at most. Whatever the order tells, the released sums of an epoch are
  then no more than one full-batch Gaussian release, so that the epochs begun in
  T steps are accounted as that many full batches. (Epochs of more steps, the
  incomplete batch among them, are fewer: it holds for them too.) No
  amplification is claimed for them: shuffling can be worse than Poisson
  sampling at the same noise (Chua et al., 2024, "How private are DP-SGD
  implementations?").

  Relation: add or remove one record for "poisson"; for the others zero-out, the
  target against an empty record in its place.

  Raises:
    ValueError: "fixed_size", whose accountants know replace-one only, with the
      sensitivity doubled; or no such scheme.

  >>> effective("poisson", 0.01, 250), effective("shuffle", 0.01, 250)
  ((0.01, 250), (1.0, 3))
  """
  _, q, count = checks.dpsgd_arguments(1.0, sampling_probability, steps)
  if scheme == "fixed_size":
    raise ValueError(
      "sampling 'fixed_size' has no accountant here: batches of one size hide "
      "a record only under replace-one; draw by Poisson sampling, or shuffle"
    )
  if scheme not in SCHEMES:
    raise ValueError(
      f"sampling must be one of {', '.join(SCHEMES)}, got {scheme!r}"
    )
  if scheme == "poisson":
    return q, count
  return 1.0, math.ceil(count / steps_per_epoch(scheme, q))


def steps_per_epoch(scheme: str, sampling_probability: float) -> float:
  """1/q, in expectation, for "poisson"; the whole batches in it for others.

  >>> steps_per_epoch("poisson", 0.4), steps_per_epoch("shuffle", 0.4)
  (2.5, 2)
  """
  inverse = 1 / sampling_probability
  # 1 / (1/49) is a little less than 49.
  return inverse if scheme == "poisson" else math.floor(inverse * (1 + 1e-12))
