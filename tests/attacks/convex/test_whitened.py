import numpy as np
import pytest

from informed_recon.attacks.convex import fitting, reconstruct, whitened

OUTPUTS, FEATURES, N = 5, 24, 300


def _attack(released, x, y):
  told = dict(l2=0.01, label_set=range(OUTPUTS))
  return reconstruct("softmax", *released, x, y, **told)


@pytest.fixture(scope="module")
def drowned():
  """A model, its known records, and the record that is fitted so well that the
  closed form is the first to give it up; with what it said."""
  rng = np.random.default_rng(0)
  centre = rng.normal(size=(OUTPUTS, FEATURES))
  y = np.arange(N) % OUTPUTS
  x = centre[y] + rng.normal(size=(N, FEATURES)) * np.logspace(-1, 0.5, 24)
  for far in np.arange(3, 6, 0.5):
    record = far * centre[1]
    fitted = fitting.fit(
      "softmax",
      np.vstack([x, record]),
      fitting.encode("softmax", np.append(y, 1), OUTPUTS),
      l2=0.01,
      intercept=True,
    )
    released = fitted.weights, fitted.intercept
    said = _attack(released, x, y)  # too few equations to spare for more
    if not said.identifiable:
      return released, x, y, record, said
  raise AssertionError("no record drowns")


def test_a_record_that_drowns_in_rounding_comes_back(drowned, monkeypatch):
  released, x, y, record, before = drowned
  monkeypatch.setattr(whitened, "MANY", 30)
  found = _attack(released, x, y)
  assert found.identifiable and found.checked and found.y == 1
  spread = x.std(axis=0)
  off = np.linalg.norm((found.x - record) / spread)
  assert off <= 2 * np.linalg.norm(found.error / spread)
  assert off < 0.6 * np.linalg.norm((before.x - record) / spread)
  # An adversary who is wrong in the tenth digit is told so.
  wrong = x.copy()
  wrong[7] *= 1 + 1e-9
  assert not _attack(released, wrong, y).identifiable
