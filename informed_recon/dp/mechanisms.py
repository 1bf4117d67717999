"""Accounting of mechanisms beside DP-SGD, by dp-accounting's own events."""

import math

import dp_accounting
import numpy as np
from dp_accounting import pld

from informed_recon.dp import checks


def epsilon_of(event: dp_accounting.DpEvent, delta: float) -> float:
  """Epsilon at delta of any event that dp-accounting's PLDs support.

  Relation: add or remove one record.

  Raises:
    ValueError: an event without privacy loss distributions.

  >>> round(epsilon_of(matrix_event(np.eye(10), 3.0), 1e-5), 2)
  1.27
  """
  delta = checks.real("delta", delta, "(0, 1)", lambda v: 0 < v < 1)
  if isinstance(event, dp_accounting.GaussianDpEvent):
    with np.errstate(divide="ignore"):
      return float(
        dp_accounting.get_epsilon_gaussian(event.noise_multiplier, delta)
      )
  accountant = pld.PLDAccountant()
  if not accountant.supports(event):
    raise ValueError(f"event has no privacy loss distribution here: {event!r}")
  return float(accountant.compose(event).get_epsilon(delta))


def matrix_event(strategy, noise_multiplier: float) -> dp_accounting.DpEvent:
  """A matrix mechanism (BandMF, DP-FTRL) in which a record takes part once.

  The gradients' sums G (T x P) are released as C^{-1} (C G + noise), with noise
  of noise_multiplier times the clipping norm: one Gaussian release of
  sensitivity max_t |C e_t|, whatever the order of the batches, as long as each
  record is in one of them at most. `bounds.gaussian_upper` bounds what can be
  reconstructed, with mu that sensitivity over the noise multiplier.

  Relation: add or remove one record (the record against an empty one).
  Source: Denisov et al., 2022; Choquette-Choo et al., 2023 (BandMF).

  Args:
    strategy: C, (T, T), lower triangular, with a positive diagonal.
    noise_multiplier: in [0, inf].

  Raises:
    ValueError: no such matrix.
  """
  sigma = checks.nonnegative("noise_multiplier", noise_multiplier)
  c = np.asarray(strategy, dtype=np.float64)
  if (
    c.ndim != 2
    or c.shape[0] != c.shape[1]
    or not np.all(np.isfinite(c))
    or np.any(np.triu(c, 1))
    or not np.all(np.diag(c) > 0)
  ):
    raise ValueError(
      "strategy must be square, lower triangular and positive on its diagonal, "
      f"got shape {c.shape}"
    )
  sensitivity = math.sqrt(np.max(np.sum(c**2, axis=0)))
  return dp_accounting.GaussianDpEvent(sigma / sensitivity)


def replace_one_event(
  noise_multiplier: float, steps: int
) -> dp_accounting.DpEvent:
  """Full-batch steps where one record is exchanged for another.

  The sum moves by twice the clipping norm, so that noise counts for half.

  >>> event = replace_one_event(20.0, 100)  # of add or remove one: 4.38
  >>> round(epsilon_of(event, 1e-5), 2)
  4.38
  """
  sigma, _, count = checks.dpsgd_arguments(noise_multiplier, 1.0, steps)
  return dp_accounting.GaussianDpEvent(sigma / (2 * math.sqrt(count)))
