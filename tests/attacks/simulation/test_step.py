"""The step of the simulation attack on linear problems."""

import jax.numpy as jnp
import numpy as np

from informed_recon.attacks.simulation import step


def test_damped_least_squares_against_numpy():
  rng = np.random.default_rng(0)
  jacobian = rng.normal(size=(12, 5)).astype(np.float32)
  residual = rng.normal(size=12).astype(np.float32)
  move, left, count = step._damped_least_squares(
    lambda v: jacobian @ v,
    lambda r: jacobian.T @ r,
    *(jnp.asarray(residual), jnp.asarray(jacobian.T @ residual)),
    *(0.7, 50, 1e-6),
  )
  expected = np.linalg.solve(
    jacobian.T @ jacobian + 0.7 * np.eye(5), -jacobian.T @ residual
  )
  np.testing.assert_allclose(move, expected, atol=1e-5)
  np.testing.assert_allclose(left, residual + jacobian @ expected, atol=1e-5)
  assert 0 < count <= 12
