"""Runs all experiments of a config's sweep, and goes on where it stopped.

informed-recon sweep --config=scaling_demo --workdir=runs/scaling

The config has `sweep(arg)`, which yields overrides by dotted path, or
big_vision's `get_hyper(hyper)`.
"""

import pathlib
import sys

from absl import flags
from ml_collections import config_flags

from informed_recon import registry
from informed_recon.types import UserError

from . import app

_CONFIG = app.config_flag("a config with a sweep, such as scaling_demo:quick")
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of this sweep")
_EXECUTOR = flags.DEFINE_string(
  "executor", "local", "where the points run: local, slurm or a file of yours"
)
_JOBS = flags.DEFINE_integer("jobs", 1, "points at a time", lower_bound=1)
_RETRIES = flags.DEFINE_integer(
  "retries", 1, "how often a point that failed is tried again", lower_bound=0
)
_OPTIONS = flags.DEFINE_multi_string(
  "option", [], "setting of the executor: --option=partition=gpu"
)
_KNOWN = flags.DEFINE_string(
  "known", "", "folder of tables; labelled points that are there are not run"
)
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "list the points, and leave")
_STATUS = flags.DEFINE_bool(
  "status", False, "say how far it is, with its page, and leave"
)

REQUIRED = ("config", "workdir")


def main(argv):
  del argv
  import jax

  jax.config.update("jax_platforms", "cpu")  # the devices are for the points
  from informed_recon.sweeps import collect, plan, state

  flag, workdir = flags.FLAGS["config"], pathlib.Path(_WORKDIR.value)
  name, colon, argument = config_flags.get_config_filename(flag).partition(":")
  sweep = plan.plan(
    _CONFIG.value,
    app.config_file(name) + colon + argument,
    config_flags.get_override_values(flag),
    workdir,
    force=app.FORCE.value,
  )
  if _KNOWN.value:
    sweep = plan.without_known(sweep, pathlib.Path(_KNOWN.value))
  if _DRY_RUN.value:
    for point in sweep.points:
      print(point.name)
    print(f"{len(sweep.points)} points; nothing was written")
    return
  if not all("=" in option for option in _OPTIONS.value):
    raise UserError("--option wants name=value, such as partition=gpu")
  if not _STATUS.value:
    registry.find("sweeps.executors", _EXECUTOR.value).run(
      sweep.points,
      jobs=_JOBS.value,
      retries=_RETRIES.value,
      options=dict(option.split("=", 1) for option in _OPTIONS.value),
    )
  if workdir.is_dir():
    collect.collect(sweep, workdir)
    print(f"page: {workdir}/sweep.html")
  print(state.status(sweep.points, _JOBS.value))
  sys.exit(not _STATUS.value and not state.finished(sweep.points))


if __name__ == "__main__":
  app.run(main, REQUIRED)
