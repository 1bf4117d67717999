"""What a reconstruction is worth, one value a target; means with intervals.

Records are images in [0, 1], arrays (M, h, w, c) for M targets; records that
are no images have no SSIM (NaN).
"""

from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

SSIM_WINDOW = 11  # pixels; smaller images take the largest odd window


def per_target(
  truth: np.ndarray,
  guess: np.ndarray,
  classify: Callable[[np.ndarray], np.ndarray] | None,
  perceptual: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
) -> dict[str, np.ndarray]:
  """Error of each reconstruction, arrays (M,).

  Args:
    truth: (M, *shape) targets.
    guess: (M, *shape) reconstructions.
    classify: records -> log-probabilities (M, K) of a separate classifier;
      None where records have no classes (then "kl" is NaN).
    perceptual: a distance of `evaluation.perceptual`, if one is asked for.

  Returns:
    "mse" and "mae" per pixel; "psnr" in dB for a peak of 1; "ssim" (Wang et
    al. 2004); "kl", KL(classify(truth) || classify(guess)) in nats; with a
    distance, "perceptual".
  """
  error = (guess - truth).reshape(len(truth), -1).astype(np.float64)
  mse = np.mean(error**2, axis=1)
  values = dict(
    mse=mse,
    mae=np.mean(np.abs(error), axis=1),
    # An exact reconstruction would be infinite: capped at 1e-12, 120 dB.
    psnr=-10 * np.log10(np.maximum(mse, 1e-12)),
    ssim=ssim(truth, guess),
    kl=_kl(classify(truth), classify(guess))
    if classify
    else np.full(len(truth), np.nan),
  )
  if perceptual:
    values |= dict(perceptual=_blockwise(perceptual, truth, guess))
  return values


def ssim(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
  """(M,) SSIM of images (M, h, w, c) in [0, 1]; NaN of what is no image."""
  if truth.ndim != 4:
    return np.full(len(truth), np.nan)
  side = min(*truth.shape[1:3], SSIM_WINDOW)
  window = side - (side % 2 == 0)
  compare = jax.vmap(lambda a, b: dm_pix.ssim(a, b, filter_size=window))
  return _blockwise(compare, truth, guess)


def _blockwise(compare: Callable, a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """compare(a, b) (M,) float64 in blocks, for the memory."""
  compare = jax.jit(compare)
  blocks = [slice(i, i + 500) for i in range(0, len(a), 500)]
  parts = [np.asarray(compare(a[some], b[some])) for some in blocks]
  return np.concatenate(parts).astype(np.float64)


def _kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
  # Anew in float64: rounded to float32, probabilities do not sum to 1, and a
  # tiny divergence could come out negative.
  log_p, log_q = (
    scipy.special.log_softmax(a.astype(np.float64), axis=1)
    for a in (log_p, log_q)
  )
  return np.sum(np.exp(log_p) * (log_p - log_q), axis=1)


def bootstrap(
  statistic: Callable[[np.ndarray], float],
  count: int,
  *,
  seed: int = 0,
  resamples: int = 1000,
  level: float = 0.95,
) -> tuple[float, float]:
  """Percentile bootstrap interval of `statistic(indices)` over items."""
  rng = np.random.default_rng(seed)
  values = [
    statistic(rng.integers(count, size=count)) for _ in range(resamples)
  ]
  tail = (1 - level) / 2
  low, high = np.quantile(values, [tail, 1 - tail])
  return float(low), float(high)


def mean_ci95(values: np.ndarray) -> tuple[float, tuple[float, float]]:
  """Mean and its 95% bootstrap interval."""
  interval = bootstrap(lambda i: values[i].mean(), len(values))
  return float(values.mean()), interval


def pairwise_mse(a: np.ndarray, b: np.ndarray, block: int = 4096) -> np.ndarray:
  """Per-pixel MSE of every a with every b, (len(a), len(b)) float32.

  ‖a - b‖² = ‖a‖² + ‖b‖² - 2⟨a, b⟩ in blocks of matrix products. The rounding
  of about 1e-6 matters only where two records are nearly equal.
  """
  a = a.reshape(len(a), -1).astype(np.float32)
  out = np.empty((len(a), len(b)), np.float32)
  distance = jax.jit(_mean_square_distance)
  for start in range(0, len(b), block):
    part = b[start : start + block].reshape(-1, a.shape[1])
    out[:, start : start + len(part)] = distance(a, part.astype(np.float32))
  return out


def _mean_square_distance(a: jax.Array, b: jax.Array) -> jax.Array:
  with jax.default_matmul_precision("highest"):
    cross = a @ b.T
  square = jnp.sum(a * a, 1)[:, None] + jnp.sum(b * b, 1)[None] - 2 * cross
  return jnp.maximum(square, 0) / a.shape[1]
