"""Writes the findings of a sweep of factors: small tables, a figure, a page.

informed-recon findings --workdir=runs/factors --results=results/factors
    --page=docs/findings.md

The sweep's rows join those that are in the tables already, which alone suffice
to write the page again.
"""

import pathlib

from absl import flags

from informed_recon.types import UserError

from . import app

_WORKDIRS = flags.DEFINE_multi_string(
  "workdir", [], "folder of a sweep whose rows to add; may be given again"
)
_RESULTS = flags.DEFINE_string("results", None, "folder of the tables")
_PAGE = flags.DEFINE_string("page", None, "Markdown file to write")
_ABOUT = flags.DEFINE_string(
  "about", "Measured on two CPU cores, busy.", "where the numbers come from"
)

REQUIRED = ("results", "page")


def main(argv):
  del argv
  from informed_recon.report.factors import findings, tables

  folder, page = pathlib.Path(_RESULTS.value), pathlib.Path(_PAGE.value)
  for name in _WORKDIRS.value:
    workdir = pathlib.Path(name)
    if not (workdir / tables.POINTS).is_file():
      raise UserError(
        f"{workdir} has no {tables.POINTS}; give the folder of a sweep, and "
        "run informed-recon sweep --status on it first"
      )
    tables.add(folder, workdir)
  findings.write(folder, page, _ABOUT.value)
  print(f"page: {page}")


if __name__ == "__main__":
  app.run(main, REQUIRED)
