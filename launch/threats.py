"""Writes the page of threat models, from results that are kept.

informed-recon threats [--run=runs/threats]

From a checkout: docs/threats.md from results/ and bench/results/. With --run,
the folder of a finished run of configs/threats.py, it draws the figure too and
keeps the run's results.
"""

import json
import pathlib
import shutil

from absl import flags

from informed_recon.types import UserError

from . import app

_RUN = flags.DEFINE_string("run", "", "folder of a run of configs/threats.py")
_RESULTS = flags.DEFINE_string("results", "results", "folder of kept runs")
_ROWS = flags.DEFINE_string("rows", "bench/results", "folder of benches' rows")
_PAGE = flags.DEFINE_string("page", "docs/threats.md", "file to write")


def main(argv):
  del argv
  from ml_collections import ConfigDict

  from informed_recon import stages
  from informed_recon.report import figures, threats
  from informed_recon.storage import files

  results, page = pathlib.Path(_RESULTS.value), pathlib.Path(_PAGE.value)
  kept = results / threats.THE_RUN
  if _RUN.value:
    done = pathlib.Path(_RUN.value)
    if not (done / "results.json").is_file():
      raise UserError(
        f"{done} has no results.json; run --config=threats there first"
      )
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("results.json", "config.json", "metrics.jsonl"):
      shutil.copy(done / name, kept / name)
    config = json.loads((done / "config.json").read_text())["config"]
    experiment = stages.build(ConfigDict(config), done)
    image = figures.png(threats.picture(experiment))
    files.write(page.with_suffix(".png"), lambda file: file.write(image))
  if not (kept / "results.json").is_file():
    raise UserError(
      f"{kept} has no results.json; give --run=DIR of a run of --config=threats"
    )
  threats.write(page, results, pathlib.Path(_ROWS.value))
  print(f"page: {page}")


if __name__ == "__main__":
  app.run(main)
