"""Standardisation against NumPy, where models differ by little."""

import numpy as np
import pytest

from informed_recon.attacks.reconstructor import standardisation
from informed_recon.storage.store import Rows


def _rows(values, chunk_rows=7):
  starts = range(0, len(values), chunk_rows)
  return Rows(tuple(values[s : s + chunk_rows] for s in starts), chunk_rows)


@pytest.mark.parametrize("centre", [0.0, 1.0, 1000.0])
def test_equals_numpy_in_float64(centre, monkeypatch):
  monkeypatch.setattr(standardisation, "BLOCK", 5)
  rng = np.random.default_rng(0)
  spread = np.array([1.0, 0.01, 0.3])
  values = centre + spread * rng.normal(size=(33, 3))
  values = values.astype(np.float32)
  ids = np.arange(4, 30)
  ours = standardisation.standardise(_rows(values), ids)
  used = values[ids].astype(np.float64)
  np.testing.assert_allclose(ours.mean, used.mean(0), rtol=1e-6)
  np.testing.assert_allclose(ours.scale, 1 / used.std(0), rtol=1e-5)
  assert ours.mean.dtype == ours.scale.dtype == np.float32
  z = ours(values[ids])
  if centre < 1000:  # float32 rows around 1000 carry a spread of .01 coarsely
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-4)


def test_constant_coordinates_become_zero():
  """Also one that is constant but for the rounding of float32."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(50, 3)).astype(np.float32)
  values[:, 0] = 0.3
  values[:, 1] = 1.0
  values[::2, 1] = np.nextafter(np.float32(1), np.float32(2))
  ours = standardisation.standardise(_rows(values), np.arange(50))
  np.testing.assert_array_equal(ours.scale[:2], 0)
  z = ours(values + 5)
  np.testing.assert_array_equal(z[:, :2], 0)
  assert np.isfinite(z).all() and z[:, 2].std() > 0.9


def test_small_spread_around_zero_is_kept():
  """Biases of hardly trained models: tiny, but they carry the signal."""
  rng = np.random.default_rng(0)
  values = (1e-6 * rng.normal(size=(50, 2))).astype(np.float32)
  ours = standardisation.standardise(_rows(values), np.arange(50))
  np.testing.assert_allclose(ours(values).std(0), 1, rtol=1e-3)
