"""Runs one experiment: data, shadow models, attack, evaluation, report.

informed-recon run --config=demo --workdir=runs/demo

Run again, it goes on where it was interrupted.
"""

from absl import flags

from . import app

_CONFIG = app.config_flag("experiment, such as demo or demo:quick")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of this run")
_WORKER = flags.DEFINE_bool(
  "worker", False, "help to train this run's models, any number at once"
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "host:port of process 0; auto: as Slurm or MPI tells"
)
_PROCESSES = flags.DEFINE_integer("num_processes", None, "of this run")
_PROCESS = flags.DEFINE_integer("process_id", None, "number of this process")

REQUIRED = ("config", "workdir")


def main(argv):
  del argv
  import jax

  from informed_recon import stages

  if _COORDINATOR.value == "auto":
    jax.distributed.initialize()
  elif _COORDINATOR.value:
    jax.distributed.initialize(
      _COORDINATOR.value, _PROCESSES.value, _PROCESS.value
    )
  if _WORKER.value:
    stages.work(_CONFIG.value, _WORKDIR.value, app.FORCE.value)
    return
  results = stages.run(_CONFIG.value, _WORKDIR.value, app.FORCE.value)
  if jax.process_index():
    return
  print(stages.reporter(_CONFIG.value).text(results))
  if "report" in _CONFIG.value.stages:
    print(f"report: {_WORKDIR.value}/report.html")


if __name__ == "__main__":
  app.run(main, REQUIRED)
