"""On this machine: at most `jobs` processes at a time."""

import os
import socket
from collections.abc import Mapping, Sequence
from concurrent import futures

from informed_recon import stages
from informed_recon.storage import claims
from informed_recon.sweeps import state
from informed_recon.sweeps.plan import Point
from informed_recon.types import UserError


def run(
  points: Sequence[Point], *, jobs: int, retries: int, options: Mapping
) -> None:
  if options:
    raise UserError(f"the local executor has no option {next(iter(options))!r}")

  def attempt(point: Point) -> Point:
    state.attempt(point, retries, _environment(point, jobs))
    return point

  # What another launch of this sweep has in hand comes last.
  order = sorted(
    points, key=lambda point: claims.alive(point.workdir / stages.CLAIM)
  )
  with futures.ThreadPoolExecutor(jobs) as pool:
    tasks = [pool.submit(attempt, point) for point in order]
    try:
      for i, task in enumerate(futures.as_completed(tasks)):
        point = task.result()
        what, remark, _ = state.state(point)
        text = f"[{i + 1}/{len(points)}] {point.name}: {what} {remark}"
        print(text.rstrip(), flush=True)
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      raise


def _environment(point: Point, jobs: int) -> dict[str, str]:
  """Programs repeat between points: each is compiled once. A device's memory
  is divided among those that run at a time."""
  cache = point.directory / ".cache" / socket.gethostname()
  defaults = {"JAX_COMPILATION_CACHE_DIR": str(cache.absolute())}
  if jobs > 1:
    defaults["XLA_PYTHON_CLIENT_MEM_FRACTION"] = f"{0.9 / jobs:.3f}"
  return defaults | os.environ
