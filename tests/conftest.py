"""Settings and small problems that all tests share."""

import os
import shutil
import tempfile

# Programs repeat between tests and between the processes they start: each is
# compiled once a session. Set before anything imports jax.
_CACHE = tempfile.mkdtemp(prefix="informed-recon-tests-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import hypothesis  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from informed_recon.types import Records  # noqa: E402

hypothesis.settings.register_profile(
  "same_every_time", derandomize=True, deadline=None, max_examples=30
)
hypothesis.settings.load_profile("same_every_time")


def pytest_addoption(parser):
  parser.addoption("--run-slow", action="store_true", help="also slow tests")


def pytest_collection_modifyitems(config, items):
  if config.getoption("--run-slow"):
    return
  skip = pytest.mark.skip(reason="slow; use --run-slow")
  for item in items:
    if "slow" in item.keywords:
      item.add_marker(skip)


def pytest_unconfigure():
  shutil.rmtree(_CACHE, ignore_errors=True)


@pytest.fixture
def make_records():
  """(n, shape, classes) -> random labelled records."""

  def make(n, shape=(4, 4, 1), classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return Records(
      rng.uniform(size=(n, *shape)).astype(np.float32),
      rng.integers(classes, size=n).astype(np.int32),
    )

  return make
