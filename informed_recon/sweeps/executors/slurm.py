"""On a cluster: one Slurm job array through submitit, `jobs` at a time.

A job that is preempted, or reaches its time limit, is queued again and goes on
where it was. The launch waits until none of its jobs is left in the queue; it
may be stopped meanwhile (the jobs stay), and asked with `--status`.
"""

import inspect
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence

import submitit
from submitit.slurm import slurm

from informed_recon import stages
from informed_recon.storage import claims
from informed_recon.sweeps import state
from informed_recon.sweeps.plan import Point
from informed_recon.types import UserError

POLL = 2.0  # seconds
MINUTES = 24 * 60  # a job may take, unless --option=time=... says otherwise


class Attempt(submitit.helpers.Checkpointable):
  """`state.attempt`, which submitit queues again at a job's time limit."""

  def __call__(self, point: Point, retries: int) -> None:
    state.attempt(point, retries)


def run(
  points: Sequence[Point], *, jobs: int, retries: int, options: Mapping
) -> None:
  """Options are sbatch's: partition=gpu, time=600, gpus_per_node=1 ..."""
  left = [
    point
    for point in points
    if not point.results.exists()
    and not claims.alive(point.workdir / stages.CLAIM)
  ]
  if not left:
    return
  if not shutil.which("sbatch"):
    raise UserError(
      "this machine has no Slurm (sbatch is not on the path); leave out "
      "--executor=slurm"
    )
  executor = submitit.SlurmExecutor(points[0].directory.absolute() / "jobs")
  known = inspect.signature(slurm._make_sbatch_string).parameters
  given = {k: int(v) if v.isdigit() else v for k, v in options.items()}
  plain = {k: v for k, v in given.items() if k in known}
  extra = {k: v for k, v in given.items() if k not in known}
  executor.update_parameters(
    **dict(time=MINUTES, array_parallelism=jobs) | plain,
    additional_parameters=dict(requeue=True) | extra,
  )
  submitted = executor.map_array(Attempt(), left, [retries] * len(left))
  waiting = {job.job_id: point for job, point in zip(submitted, left)}
  print(f"submitted {len(waiting)} jobs: {submitted[0].job_id} and on")
  while waiting:
    time.sleep(POLL)
    for job in set(waiting) - _queued(waiting):
      point = waiting.pop(job)
      if not (point.results.exists() or point.failure.exists()):
        state.give_up(point, *_end(job))
      what, remark, _ = state.state(point)
      print(f"{job} {point.name}: {what} {remark}".rstrip(), flush=True)


def _queued(jobs: Iterable[str]) -> set[str]:
  """Those that Slurm has waiting, running or to be run again."""
  names = ",".join({job.partition("_")[0] for job in jobs})
  answer = subprocess.run(
    ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={names}"],
    **dict(capture_output=True, text=True),
  )
  if answer.returncode and "Invalid job id" not in answer.stderr:
    # The controller restarts at times; the jobs do not care, nor should we.
    print(f"squeue: {answer.stderr.strip()}", file=sys.stderr)
    return set(jobs)
  return set(jobs) & set(answer.stdout.split())


def _end(job: str) -> tuple[str, str]:
  """How a job ended that left neither results nor a failure."""
  told = subprocess.run(
    ["scontrol", "show", "job", job, "--oneliner"],
    **dict(capture_output=True, text=True),
  ).stdout
  # Slurm forgets a job after MinJobAge, five minutes by default.
  fields = dict(f.split("=", 1) for f in told.split() if "=" in f)
  ended = fields.get("JobState", "unknown")
  what = "cancelled" if ended == "CANCELLED" else "failed"
  return what, f"Slurm job {job} ended as {ended}"
