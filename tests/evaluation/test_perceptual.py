"""The perceptual distance: published weights by hand, ladders of distortion."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats

from informed_recon import data
from informed_recon.data import DataSpec
from informed_recon.evaluation import metrics, perceptual
from informed_recon.evaluation.perceptual import Spec
from informed_recon.types import Records, UserError


@pytest.fixture(scope="module")
def digits():
  return data.load(DataSpec("digits")).records


@pytest.fixture(scope="module")
def distance(digits):
  train = Records(*(a[:1200] for a in digits))
  spec = Spec(widths=(8, 16, 32), epochs=4, batch_size=64)
  built = perceptual.build(spec, train, 10, jax.random.key(0))
  assert len(jax.tree.leaves(built)) == 8  # can be an argument of a jit
  return built


def _blur(x, strength):
  return scipy.ndimage.gaussian_filter(x, (0, strength, strength, 0))


def _noise(x, strength):
  noise = np.random.default_rng(0).normal(0, strength, x.shape)
  return np.clip(x + noise, 0, 1)


def _shift(x, strength):
  return scipy.ndimage.shift(x, (0, 0, strength, 0), order=1)


def _fade(x, strength):
  return 0.5 + (x - 0.5) * (1 - strength)


LADDERS = {
  _blur: (0.5, 1.0, 2.0),
  _noise: (0.05, 0.15, 0.4),
  _shift: (0.25, 0.5, 1.0),
  _fade: (0.2, 0.5, 0.8),
}


def _ladder(x, distort):
  return [distort(x, s).astype(np.float32) for s in LADDERS[distort]]


@pytest.mark.parametrize("distort", LADDERS)
def test_it_orders_distortions_by_their_strength(digits, distance, distort):
  """As SSIM does, on images nobody trained on."""
  x = digits.x[1200:1260]
  errors = [
    metrics.per_target(x, y, None, distance) for y in _ladder(x, distort)
  ]
  looks = [e["perceptual"].mean() for e in errors]
  ssim = [e["ssim"].mean() for e in errors]
  assert 0 < looks[0] < looks[1] < looks[2]
  assert ssim[0] > ssim[1] > ssim[2]
  # And image by image, nearly always.
  one, two, three = (e["perceptual"] for e in errors)
  assert np.mean((one < two) & (two < three)) > 0.9


def test_it_agrees_with_ssim_across_kinds(digits, distance):
  x = digits.x[1200:1260]
  distorted = [y for distort in LADDERS for y in _ladder(x, distort)]
  errors = [metrics.per_target(x, y, None, distance) for y in distorted]
  looks = np.concatenate([e["perceptual"] for e in errors])
  ssim = np.concatenate([e["ssim"] for e in errors])
  assert scipy.stats.spearmanr(looks, -ssim).statistic > 0.5


def test_a_distance(digits, distance):
  a, b = digits.x[:5], digits.x[5:10]
  distance = jax.jit(distance)
  gradient = jax.jit(jax.grad(lambda x, y: distance(x, y).sum(), argnums=1))
  np.testing.assert_allclose(distance(a, a), 0, atol=1e-6)
  np.testing.assert_allclose(distance(a, b), distance(b, a), rtol=1e-4)
  assert (distance(a, b) > 0.01).all()
  # Differentiable where both images are the same and where they are empty.
  for x in (a, 0 * a):
    assert np.isfinite(gradient(x, x)).all()
  assert metrics.per_target(a, b, None).keys() == {
    *("mse", "mae", "psnr", "ssim", "kl")
  }


def _weights(backbone, rng, scale=0.1):
  """Random ones in the documented form."""
  alex = backbone is perceptual.ALEXNET
  sizes, channels = (11, 5, 3, 3, 3), (6, 8, 5, 4, 7)
  weights, i, last = {}, 0, 3
  for stage, count in enumerate(backbone.convolutions):
    for _ in range(count):
      k, c = sizes[i] if alex else 3, channels[stage]
      kernel = rng.normal(0, scale, (k, k, last, c)).astype(np.float32)
      weights[f"conv{i}/kernel"] = kernel
      weights[f"conv{i}/bias"] = rng.normal(0, 0.1, c).astype(np.float32)
      last, i = c, i + 1
    weights[f"lin{stage}"] = rng.uniform(size=last).astype(np.float32)
  return weights


def _save(path, weights):
  np.savez(path, **weights)
  return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def _convolve(x, kernel, bias, stride, pad):
  """One image (h, w, c), place by place."""
  k = kernel.shape[0]
  x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
  rows = range(0, x.shape[0] - k + 1, stride)
  columns = range(0, x.shape[1] - k + 1, stride)
  out = [
    [np.tensordot(x[i : i + k, j : j + k], kernel, 3) for j in columns]
    for i in rows
  ]
  return np.maximum(np.array(out) + bias, 0)


def _pool(x, k):
  rows = range(0, x.shape[0] - k + 1, 2)
  columns = range(0, x.shape[1] - k + 1, 2)
  return np.array(
    [[x[i : i + k, j : j + k].max((0, 1)) for j in columns] for i in rows]
  )


def _alexnet(weights, x):
  """Krizhevsky's one-tower network as torchvision has it, by its table."""
  w = [weights[f"conv{i}/kernel"] for i in range(5)]
  b = [weights[f"conv{i}/bias"] for i in range(5)]
  one = _convolve(x, w[0], b[0], 4, 2)
  two = _convolve(_pool(one, 3), w[1], b[1], 1, 2)
  three = _convolve(_pool(two, 3), w[2], b[2], 1, 1)
  four = _convolve(three, w[3], b[3], 1, 1)
  return one, two, three, four, _convolve(four, w[4], b[4], 1, 1)


def _vgg16(weights, x):
  taps, i = [], 0
  for stage, count in enumerate((2, 2, 3, 3, 3)):
    x = _pool(x, 2) if stage else x
    for _ in range(count):
      w = weights[f"conv{i}/kernel"], weights[f"conv{i}/bias"]
      x, i = _convolve(x, *w, 1, 1), i + 1
    taps.append(x)
  return taps


@pytest.mark.parametrize(
  "backbone, features",
  [(perceptual.ALEXNET, _alexnet), (perceptual.VGG16, _vgg16)],
)
def test_published_features_by_hand(tmp_path, backbone, features):
  rng = np.random.default_rng(0)
  weights = _weights(backbone, rng)
  path, digest = _save(tmp_path / "net.npz", weights)
  distance = perceptual.build(
    Spec(sha256=digest), Records(np.zeros((1, 40, 36, 3)), None), 0, None, path
  )
  a, b = rng.uniform(size=(2, 1, 40, 36, 3)).astype(np.float32)

  def scaled(x):
    shift, scale = [-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]
    return (2 * x.astype(np.float64) - 1 - shift) / scale

  expected = 0.0
  taps = zip(features(weights, scaled(a[0])), features(weights, scaled(b[0])))
  for i, (f, g) in enumerate(taps):
    f = f / (np.linalg.norm(f, axis=-1, keepdims=True) + 1e-10)
    g = g / (np.linalg.norm(g, axis=-1, keepdims=True) + 1e-10)
    expected += (weights[f"lin{i}"] * (f - g) ** 2).sum(-1).mean()
  assert expected > 0.01
  np.testing.assert_allclose(jax.jit(distance)(a, b), [expected], rtol=1e-3)
  # A grey image is an RGB image with three equal channels.
  grey = jax.jit(perceptual.published(path, digest, (40, 36, 1)))
  np.testing.assert_allclose(
    grey(a[..., :1], b[..., :1]),
    grey(*(jnp.repeat(x[..., :1], 3, -1) for x in (a, b))),
    rtol=1e-4,
  )


def test_what_the_file_may_not_be_is_said(tmp_path):
  weights = _weights(perceptual.ALEXNET, np.random.default_rng(0))
  path, digest = _save(tmp_path / "net.npz", weights)
  del weights["lin4"]
  short, short_digest = _save(tmp_path / "short.npz", weights)
  other = tmp_path / "other.txt"
  other.write_text("no weights")
  other_digest = hashlib.sha256(b"no weights").hexdigest()
  for spec, shape, at, message in (
    (Spec(digest), (32, 32, 3), "", "no LPIPS weights at ''"),
    (Spec("0" * 64), (32, 32, 3), path, "give the file that was meant"),
    (Spec(short_digest), (32, 32, 3), short, "does not hold AlexNet's or VGG"),
    (Spec(other_digest), (32, 32, 3), str(other), "does not hold AlexNet's"),
    (Spec(digest), (8, 8, 1), path, "cannot see records of shape"),
    (Spec(digest), (32, 32, 2), path, "cannot see records of shape"),
    (Spec(digest), (9,), path, "cannot see records of shape"),
    (Spec(), (32, 32, 3), path, "perf.lpips names a file"),
    (Spec(), (9,), "", "needs images"),
    (Spec(epochs=0), (8, 8, 1), "", "of 1 up"),
    (Spec(widths=()), (8, 8, 1), "", "of 1 up"),
    (Spec(widths=(4, 0)), (8, 8, 1), "", "of 1 up"),
  ):
    with pytest.raises(UserError, match=message):
      perceptual.check(spec, shape, 10, at)
  perceptual.check(Spec(digest), (32, 32, 3), 10, path)
