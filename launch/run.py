"""Runs one experiment: data, shadow models, attack, evaluation, report.

python -m launch.run --config=configs/demo.py --workdir=runs/demo
"""

from absl import flags
from ml_collections import config_flags

from informed_recon import stages
from launch import app

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment, such as configs/demo.py or configs/demo.py:quick"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of this run")
flags.mark_flags_as_required(["config", "workdir"])


def main(argv):
  del argv
  results = stages.run(_CONFIG.value, _WORKDIR.value)
  print(stages.reporter(_CONFIG.value).text(results))
  if "report" in _CONFIG.value.stages:
    print(f"report: {_WORKDIR.value}/report.html")


if __name__ == "__main__":
  app.run(main)
