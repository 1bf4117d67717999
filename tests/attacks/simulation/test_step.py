"""The step of the simulation attack on linear problems."""

import jax.numpy as jnp
import numpy as np

from informed_recon.attacks import marquardt
from informed_recon.attacks.simulation import step


def test_damped_least_squares_against_numpy():
  rng = np.random.default_rng(0)
  jacobian = rng.normal(size=(12, 5)).astype(np.float32)
  residual = rng.normal(size=12).astype(np.float32)
  linear = marquardt.linearise(
    lambda x: residual + jacobian @ x, jnp.zeros(5), step._square
  )
  gradient = jacobian.T @ residual
  scale = np.square(jacobian @ gradient).sum() / np.square(gradient).sum()
  np.testing.assert_allclose(linear.curvature, scale, rtol=1e-5)
  move, left, count = step._damped_least_squares(linear, 0.7, 50, 1e-6)
  expected = np.linalg.solve(
    jacobian.T @ jacobian + 0.7 * np.eye(5), -jacobian.T @ residual
  )
  np.testing.assert_allclose(move, expected, atol=1e-5)
  np.testing.assert_allclose(left, residual + jacobian @ expected, atol=1e-5)
  assert 0 < count <= 12
