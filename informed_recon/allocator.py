"""Memory that stays with the process, for programs that run again and again.

XLA's CPU client asks malloc for the buffers of every run of a program and frees
them after it. The GNU C library takes what is above 32 MiB from the system and
gives it back at once, so that every run touches fresh pages: a quarter of the
processor time of a reconstructor's step was spent on page faults
(docs/performance.md). Other C libraries have no such settings and are left
alone.
"""

import ctypes
import functools
import os
import platform

# Parameters of mallopt(3), from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_MOST = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
  """Tells malloc to keep up to 2 GiB of what is freed; returns whether it did.

  Threads that are started later share one arena: their own would hand out no
  block above 64 MiB. Call it early, and as often as convenient: the first call
  alone does anything. Who sets MALLOC_* or GLIBC_TUNABLES has chosen already.
  """
  chosen = (n for n in os.environ if n.startswith("MALLOC_"))
  if next(chosen, None) or "GLIBC_TUNABLES" in os.environ:
    return False
  if platform.libc_ver()[0] != "glibc":
    return False
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is None:
    return False
  settings = {
    _MMAP_THRESHOLD: _MOST,
    _TRIM_THRESHOLD: _MOST,
    _TOP_PAD: 64 << 20,
    _ARENA_MAX: 1,
  }
  return all([mallopt(name, value) for name, value in settings.items()])
