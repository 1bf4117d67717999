"""Runs one experiment: data, shadow models, attack, evaluation, report.

python -m launch.run --config=configs/demo.py --workdir=runs/demo
"""

import jax
from absl import flags
from ml_collections import config_flags

from informed_recon import stages
from launch import app

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment, such as configs/demo.py or configs/demo.py:quick"
)
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
