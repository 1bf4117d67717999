"""Runs all experiments of a config's sweep(), and goes on where it stopped.

python -m launch.sweep --config=configs/scaling_demo.py --workdir=runs/scaling
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from informed_recon import registry
from informed_recon.sweeps import plan
from informed_recon.types import UserError
from launch import app

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "file with sweep(), such as configs/scaling_demo.py:quick"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of this sweep")
_EXECUTOR = flags.DEFINE_enum(
  "executor",
  "local",
  registry.names("sweeps.executors"),
  "where the points run",
)
_JOBS = flags.DEFINE_integer("jobs", 1, "points at a time", lower_bound=1)
_RETRIES = flags.DEFINE_integer(
  "retries", 1, "how often a point that failed is tried again", lower_bound=0
)
_OPTIONS = flags.DEFINE_multi_string(
  "option", [], "setting of the executor: --option=partition=gpu"
)
_STATUS = flags.DEFINE_bool("status", False, "say how far it is, and leave")

REQUIRED = ("config", "workdir")


def main(argv):
  del argv
  flag, workdir = flags.FLAGS["config"], pathlib.Path(_WORKDIR.value)
  sweep = plan.plan(
    _CONFIG.value,
    config_flags.get_config_filename(flag),
    config_flags.get_override_values(flag),
    workdir,
    force=app.FORCE.value,
  )
  if not all("=" in option for option in _OPTIONS.value):
    raise UserError("--option wants name=value, such as partition=gpu")
  if not _STATUS.value:
    registry.find("sweeps.executors", _EXECUTOR.value).run(
      sweep.points,
      jobs=_JOBS.value,
      retries=_RETRIES.value,
      options=dict(option.split("=", 1) for option in _OPTIONS.value),
    )
    plan.collect(sweep, workdir)
    print(f"page: {workdir}/sweep.html")
  print(plan.status(sweep.points, _JOBS.value))
  sys.exit(not _STATUS.value and not plan.finished(sweep.points))


if __name__ == "__main__":
  app.run(main, REQUIRED)
