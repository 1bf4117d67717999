"""Records out of a homogeneous network, none of them known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from informed_recon.attacks import kkt
from informed_recon.attacks.kkt import network, search
from informed_recon.evaluation.coverage import coverage, distinct
from informed_recon.types import UserError

N, D, WIDTH = 6, 64, 200


def _records(seed):
  digits = load_digits()
  x, y = digits.data / 16 - digits.data.mean(0) / 16, digits.target % 2
  order = np.random.default_rng(seed).permutation(len(y))
  ids = [order[y[order] == k][: N // 2] for k in range(2)]
  ids = np.stack(ids, 1).ravel()
  return np.float32(x[ids]), y[ids]


@pytest.fixture(scope="module")
def models():
  """Two models, of different records."""
  trained = []
  for seed in range(2):
    x, y = _records(seed)
    params = network.init(jax.random.key(seed), (D, WIDTH, 1))
    params, log_loss = network.train(
      params, jnp.asarray(x), jnp.asarray(y), loss=1e-20
    )
    assert log_loss < np.log(1e-20)
    trained.append((x, params))
  return trained


def test_finds_records_that_another_model_does_not_have(models):
  found = [
    kkt.reconstruct(
      *(network.apply, params, 2 * N),
      first="kernel0",
      bounds=(-1.0, 1.0),
      choices=4,
      steps=250,
    )
    for _, params in models
  ]
  x = models[0][0]
  ours, control = (coverage(f.x, x).correlation for f in found)
  assert found[0].residual < 0.2
  assert (ours > 0.8).sum() >= N // 2 and not (control > 0.8).any()


def test_the_span_of_a_kernel_is_that_of_its_records():
  rng, (x, _) = np.random.default_rng(0), _records(0)
  start = rng.normal(size=(D, WIDTH))
  basis = search.span(1e-4 * start + x.T @ rng.normal(size=(N, WIDTH)))
  assert basis.shape == (D, N)
  left = x - x @ basis @ basis.T
  assert np.linalg.norm(left) < 0.01 * np.linalg.norm(x)
  with pytest.raises(UserError, match="0 of 64 singular values .*in_span"):
    search.span(start)


def test_the_sum_over_records_is_that_of_their_gradients(models):
  """And the softened ReLU's derivative is differentiable."""
  x, params = models[0]
  params = dict(params) | dict(bias0=params["bias0"] + 1)  # off the kinks
  y, multiplier = jnp.arange(N) % 2, jnp.linspace(0.5, 1.5, N)
  sum_ = search.explained(network.apply, params, x, y, multiplier, 1e7)

  def total(params):
    return jnp.mean(multiplier * (2 * y - 1) * network.apply(params, x)[:, 0])

  for name, plain in jax.grad(total)(params).items():
    np.testing.assert_allclose(sum_[name], plain, atol=1e-5)
  relu = search.smooth_relu(2.0)
  assert jax.grad(jax.grad(relu))(0.0) == pytest.approx(2.0 / 4)


def test_refuses_what_is_not_homogeneous_or_underdetermined(models):
  _, params = models[0]
  given = dict(first="kernel0", bounds=(-1.0, 1.0))
  assert kkt.degree(network.apply, params, D) == pytest.approx(2)

  def biased(params, x, relu):
    return network.apply(params, x, relu) + 1.0

  with pytest.raises(UserError, match="not homogeneous.*first layer alone"):
    kkt.reconstruct(biased, params, N, **given)
  with pytest.raises(UserError, match="equations for .* unknowns .*count of 1"):
    kkt.reconstruct(network.apply, params, 1000, **given)
  with pytest.raises(UserError, match="first must name the kernel"):
    kkt.reconstruct(network.apply, params, N, **given | dict(first="kernel"))


def test_answers_that_are_the_same_count_once():
  rng = np.random.default_rng(0)
  x = rng.uniform(size=(3, 8, 8, 1))
  twice = np.concatenate([x, 0.5 * x + 0.2])
  assert list(distinct(twice)) == [0, 1, 2]
  said = coverage(twice[::-1], x)
  assert said.answers == 3 and np.allclose(said.correlation, 1)
  assert list(said.answer) == [2, 1, 0]
