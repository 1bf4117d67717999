"""Settings and small problems that all tests share."""

import importlib.metadata
import os
import shutil
import tempfile

# Programs repeat between tests, between xdist's workers and between the
# processes that tests start: each is compiled once a run, or once and for all
# where a cache folder is given. Set before anything imports jax; workers
# inherit what the first process has set.
_CACHE = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
  _CACHE = tempfile.mkdtemp(prefix="informed-recon-tests-")
  os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# Most of the time is compilation, of programs that run for milliseconds:
# without optimisation, and with the older way to write loops that newer
# versions no longer have, it is a quarter. Set to anything, even to nothing
# as `make test-all` does, it stays.
_FLAGS = (
  "--xla_backend_optimization_level=0 "
  "--xla_llvm_disable_expensive_passes=true "
  "--xla_cpu_parallel_codegen_split_count=1"
)
if importlib.metadata.version("jaxlib").startswith("0.10."):
  _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)
# One thread for each product: pytest-xdist keeps the cores busy, and BLAS
# threads that wait for a core take ten times as long.
for _library in ("OMP", "OPENBLAS", "MKL"):
  os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import hypothesis  # noqa: E402
import ml_collections  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402

from informed_recon import allocator, stages  # noqa: E402
from informed_recon.configs import default  # noqa: E402
from informed_recon.types import Records  # noqa: E402

# The whole way in seconds: many small chunks and a checkpoint every epoch, so
# that it can be interrupted anywhere.
TINY = {
  "split.accuracy": 50,
  "split.targets": 12,
  "split.fixed": 30,
  "split.shadow": 80,
  "training.steps": 5,
  "reconstructors.bilinear.options.width": 16,
  "reconstructors.bilinear.epochs": 6,
  "reconstructors.bilinear.batch_size": 16,
  "evaluation.classifier.epochs": 1,
  "perf.chunk_models": 4,
  "perf.checkpoint_seconds": 0.0,
}

allocator.keep_freed_memory()
hypothesis.settings.register_profile(
  "same_every_time", derandomize=True, deadline=None, max_examples=30
)
hypothesis.settings.load_profile("same_every_time")


def pytest_configure(config):
  config.addinivalue_line("markers", "slow: a proof that make test-all runs")


def pytest_unconfigure():
  if _CACHE:
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


@pytest.fixture(scope="session")
def tiny_config():
  """(changes by dotted path) -> a locked config that runs in seconds."""

  def make(**changes) -> ml_collections.ConfigDict:
    config = default.get_config("quick")
    config.update_from_flattened_dict(TINY | changes)
    return config.lock()

  return make


@pytest.fixture(scope="session")
def finished(tiny_config, tmp_path_factory):
  """Workdir of a finished run of `tiny_config()`: copy it, do not touch it."""
  workdir = tmp_path_factory.mktemp("finished") / "run"
  stages.run(tiny_config(), workdir)
  return workdir
