"""Freed memory is kept where that can be had, and nothing breaks elsewhere."""

import os
import platform
import subprocess
import sys

import pytest

from informed_recon import allocator

# Page faults of ten allocations of 200 MiB, each touched and freed.
FAULTS = """
import resource
import numpy as np
from informed_recon import allocator
print(allocator.keep_freed_memory())
np.ones(200 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
  np.ones(200 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _run(**env):
  env = {k: v for k, v in os.environ.items() if "MALLOC" not in k} | env
  done = subprocess.run(
    [sys.executable, "-c", FAULTS],
    **dict(env=env, capture_output=True, text=True, check=True),
  )
  kept, faults = done.stdout.split()
  return kept == "True", int(faults)


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="another C library"
)
def test_memory_that_is_touched_again_costs_no_page_faults():
  kept, faults = _run()
  assert kept and faults < 1000
  # Who has set the environment is obeyed; these are the defaults.
  kept, faults = _run(MALLOC_MMAP_THRESHOLD_=str(32 << 20))
  assert not kept and faults > 1000


@pytest.mark.parametrize("library", [("", ""), ("musl", "1.2")])
def test_another_c_library_is_left_alone(monkeypatch, library):
  for name in [n for n in os.environ if "MALLOC" in n]:
    monkeypatch.delenv(name)
  monkeypatch.setattr(platform, "libc_ver", lambda: library)
  monkeypatch.setattr(allocator.ctypes, "CDLL", None)  # not even opened
  assert allocator.keep_freed_memory.__wrapped__() is False
