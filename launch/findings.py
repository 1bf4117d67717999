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
  import matplotlib

  from informed_recon.report import figures
  from informed_recon.report.curves import factors
  from informed_recon.report.factors import findings, tables
  from informed_recon.storage import files

  folder, page = pathlib.Path(_RESULTS.value), pathlib.Path(_PAGE.value)
  for name in _WORKDIRS.value:
    workdir = pathlib.Path(name)
    if not (workdir / tables.POINTS).is_file():
      raise UserError(
        f"{workdir} has no {tables.POINTS}; give the folder of a sweep, and "
        "run informed-recon sweep --status on it first"
      )
    tables.add(folder, workdir)
  found = tables.read(folder)
  if not len(found):
    raise UserError(f"{folder} has no table; give --workdir of a sweep")
  with matplotlib.rc_context(figures.STYLE):
    image = figures.png(factors.panels(found))
  files.write(page.with_suffix(".png"), lambda file: file.write(image))
  command = f"informed-recon findings --results={folder} --page={page}"
  text = findings.markdown(
    found,
    tables.read_targets(folder),
    figure=page.with_suffix(".png").name,
    made_by=command,
    about=_ABOUT.value,
  )
  files.write_text(page, text)
  print(f"page: {page}")


if __name__ == "__main__":
  app.run(main, REQUIRED)
