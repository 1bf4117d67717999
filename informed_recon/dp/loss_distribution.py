"""The privacy curve delta(epsilon) of Poisson-subsampled Gaussian steps.

One direction only, the one that reconstruction needs: P, training with the
target, against Q, training without it. For T steps of DP-SGD the pair
    P = ((1 - q) N(0, sigma^2) + q N(1, sigma^2))^T,  Q = N(0, sigma^2)^T
is the worst there is (Zhu, Dong and Wang, 2022), and the curve is
    delta(eps) = sup over events S of P(S) - e^eps Q(S),  eps of either sign.
dp-accounting offers the worse of both directions, one epsilon at a time; here
the whole curve of one direction is wanted. The tests hold the two together.
"""

import functools
import math

import numpy as np
from scipy import fft, signal, special

# Mass that may be cut off the two ends of the composed losses together. It is
# counted as a loss of infinity, so it is the floor of every delta.
TAIL_MASS = 1e-15
# Points of a composed grid: 32 MB an array, about a second and half a gigabyte
# for one curve.
LARGEST_GRID = 2**22
# One step is followed this many deviations out; what lies beyond (7.6e-24)
# is counted as a loss of infinity as well.
DEVIATIONS = 10.0


@functools.lru_cache(maxsize=64)
def delta_curve(
  sigma: float, q: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
  """Upper bounds on delta(eps) along a grid of epsilons of either sign.

  Losses are laid out on a grid by connecting the dots of the one-step curve
  (never below the truth), composed by a Fourier transform, and summed to
  deltas without subtraction. Allowances for round-off are added at each stage.

  Relation: add one record (P has it, Q has not).
  Source: Doroshenko et al., 2022 (connecting the dots); Koskela, Jalko and
  Honkela, 2020 (Fourier composition).

  Args:
    sigma: noise multiplier, in (0, inf).
    q: sampling probability, in (0, 1).
    steps: T, at least 1.

  Returns:
    Increasing epsilons and, for each, a delta in (0, 1].

  Raises:
    ValueError: more steps than memory and time are meant for.
  """
  step = grid_step(sigma, q)
  lowest, probs, beyond = _one_step(sigma, q, step)
  check_size(sigma, q, steps, step)
  lowest, probs, lost = _compose(lowest, probs, steps)
  infinite = lost - math.expm1(steps * math.log1p(-beyond))
  # delta_j = sum_{i > j} p_i (1 - e^{-(i - j) step}), written as a sum of
  # positive terms only: with W_k = p_k + e^{-step} W_{k+1},
  # delta_{k-1} - delta_k = (1 - e^{-step}) W_k.
  weighted = signal.lfilter([1.0], [1.0, -math.exp(-step)], probs[::-1])
  falls = -math.expm1(-step) * np.cumsum(weighted)[::-1]
  deltas = infinite + np.append(falls[1:], 0.0)
  epsilons = step * (lowest + np.arange(len(probs)))
  epsilons.flags.writeable = deltas.flags.writeable = False
  return epsilons, np.minimum(deltas, 1.0)


def check_size(sigma: float, q: float, steps: int, step: float) -> None:
  """Refuses what would take more memory and time than anyone expects.

  Raises:
    ValueError: the sum of `steps` losses needs more than `LARGEST_GRID` points.
  """
  start, stop = _window(_one_step(sigma, q, step)[1], steps)
  if stop - start > LARGEST_GRID:
    raise ValueError(
      f"steps = {steps:,} at this noise multiplier and sampling probability "
      f"need privacy losses at {stop - start:,} points, more than "
      f"{LARGEST_GRID:,}; take method='rdp', or fewer steps"
    )


def grid_step(sigma: float, q: float) -> float:
  """A grid fine enough for T steps of any T, in nats.

  A grid as coarse as a fraction f of the deviation of one loss inflates its
  variance by f^2 / 6 or less, at one step as after T: f = 1/16 costs epsilon
  about 3e-4 of itself. The deviation is that of the loss with the target: that
  of dP/dQ, which central limits suggest, is far larger where rare draws make
  most of it. The number of points stays between 2,000 and 2^16.
  """
  low, high = _loss_range(sigma, q)
  width = high - low
  fine = _loss_deviation(sigma, q) / 16
  return min(max(fine, width / 2**16), width / 2000)


def mixture_loss(own: np.ndarray, q: float) -> np.ndarray:
  """log(1 - q + q e^y), the loss where the Gaussians' own loss is y."""
  if q == 1:
    return own
  small = np.log1p(q * np.expm1(np.minimum(own, 1.0)))
  large = np.logaddexp(math.log1p(-q), math.log(q) + own)
  return np.where(own < 1, small, large)


def _loss_range(sigma: float, q: float) -> tuple[float, float]:
  reach = DEVIATIONS / sigma
  half = 0.5 / sigma**2
  low, high = mixture_loss(np.array([-reach - half, reach + half]), q)
  return float(low), float(high)


def _loss_deviation(sigma: float, q: float) -> float:
  """The standard deviation of one loss under P, to a few digits."""
  z = np.linspace(-DEVIATIONS, DEVIATIONS, 4001)
  law = np.exp(-(z**2) / 2)
  law /= law.sum()
  half = 0.5 / sigma**2
  without, with_target = (
    mixture_loss(z / sigma + shift, q) for shift in (-half, half)
  )
  mean, square = (
    (1 - q) * law @ without**k + q * law @ with_target**k for k in (1, 2)
  )
  return math.sqrt(max(square - mean**2, 0.0))


def _gaussian_loss(loss: np.ndarray, q: float) -> np.ndarray:
  """The inverse of `mixture_loss`; -inf below its infimum log(1 - q)."""
  small = np.expm1(np.minimum(loss, 1.0)) / q
  large = np.log1p(-(1 - q) * np.exp(-np.maximum(loss, 1.0))) - math.log(q)
  with np.errstate(divide="ignore"):
    return np.where(loss < 1, np.log1p(np.maximum(small, -1.0)), loss + large)


def _normal_mass(edges: np.ndarray) -> np.ndarray:
  """Standard normal mass between neighbouring edges, exact in both tails."""
  low, high = edges[:-1], edges[1:]
  flip = low > 0
  return special.ndtr(np.where(flip, -low, high)) - special.ndtr(
    np.where(flip, -high, low)
  )


def _one_step(
  sigma: float, q: float, step: float
) -> tuple[int, np.ndarray, float]:
  """P's law of one loss on multiples of `step`, and the mass left out above.

  The mass between two dots is divided between them so that both its P mass
  and its Q mass are kept, which makes delta linear in e^eps between dots.
  """
  low, high = _loss_range(sigma, q)
  first, last = math.floor(low / step), math.ceil(high / step)
  dots = step * np.arange(first, last + 1)
  # Everything in units of sigma, with the lower tail in a first open bin.
  edges = sigma * _gaussian_loss(dots, q) + 0.5 / sigma
  edges = np.concatenate([[-np.inf], edges])
  without = _normal_mass(edges)
  shifted = edges - 1 / sigma
  with_target = (1 - q) * without + q * _normal_mass(shifted)
  beyond = float(
    (1 - q) * special.ndtr(-edges[-1]) + q * special.ndtr(-shifted[-1])
  )
  mass, inner = with_target[1:], without[1:]
  # e^loss overflows where Q's mass underflows; there all mass is rounded up.
  seen = inner > 1e-290
  tilted = np.exp(np.log(np.where(seen, inner, 1.0)) + dots[:-1] * seen) * seen
  upper = np.clip((mass - tilted) / -math.expm1(-step), 0.0, mass)
  probs = np.append(with_target[0], upper)
  probs[:-1] += mass - upper
  return first, probs, beyond


def _compose(
  lowest: int, probs: np.ndarray, steps: int
) -> tuple[int, np.ndarray, float]:
  """Law of the sum of `steps` losses, and an allowance for what it misses.

  The allowance covers the mass cut off both ends and the round-off, so that
  any sum of masses, plus the allowance, is an upper bound.
  """
  if steps == 1:
    return lowest, probs, 0.0
  start, stop = _window(probs, steps)
  length = fft.next_fast_len(max(stop - start + 1, len(probs)), real=True)
  composed = fft.irfft(fft.rfft(probs, length) ** steps, length)
  # The transform counts modulo its length: bring the window to the front.
  composed = np.roll(composed, -start % length)
  # The power multiplies the relative error of the spectrum by `steps`. By
  # Parseval that bounds the Euclidean norm of the error here, and by
  # Cauchy-Schwarz the error of any sum of masses, such as a delta.
  relative = 4 * np.finfo(np.float64).eps * steps
  error = relative * math.sqrt(length) * float(np.linalg.norm(composed))
  composed = np.maximum(composed[: stop - start + 1], 0.0)
  return lowest * steps + start, composed, TAIL_MASS + error


def _window(probs: np.ndarray, steps: int) -> tuple[int, int]:
  """Indices outside which a sum of `steps` draws has mass below TAIL_MASS.

  Chernoff: P[sum >= b] <= e^{T K(t) - t b} for every t > 0, K the log moment
  generating function, and likewise below.
  """
  index = np.arange(len(probs))
  mean = probs @ index
  deviation = math.sqrt(steps * (probs @ (index - mean) ** 2))
  tail = math.log(2 / TAIL_MASS)
  start, stop = 0, (len(probs) - 1) * steps
  for t in np.geomspace(1e-4, 100, 30) / deviation:
    above = steps * special.logsumexp(t * index, b=probs) + tail
    below = steps * special.logsumexp(-t * index, b=probs) + tail
    stop = min(stop, math.ceil(above / t))
    start = max(start, math.floor(-below / t))
  return start, max(stop, start + 1)
