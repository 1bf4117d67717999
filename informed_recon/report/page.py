"""The HTML page: self-contained, readable without knowing the project."""

import base64
import io
import json
import pathlib
from collections.abc import Mapping

import jinja2
import matplotlib
from matplotlib.figure import Figure

from informed_recon import files
from informed_recon.report import figures, table

FOLDER = pathlib.Path(__file__).parent


def save_figure(path: pathlib.Path, figure: Figure) -> str:
  """Saves a PNG; returns it as a data URI for the page."""
  buffer = io.BytesIO()
  with matplotlib.rc_context(figures.STYLE):
    figure.savefig(buffer, format="png", metadata={"Software": None})
  files.write(path, lambda f: f.write(buffer.getbuffer()))
  return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def template(name: str) -> jinja2.Template:
  """A template of this folder by file name."""
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
  ).get_template(name)


def render(
  *,
  title: str,
  story: list[str],
  tiles: list[tuple[str, str, str]],
  pictures: list[tuple[str, str, str]],
  results: Mapping,
  config: Mapping,
) -> str:
  """The page as text.

  Args:
    title: of the experiment.
    story: paragraphs that say what was attacked and what came of it.
    tiles: (number, what it is, remark).
    pictures: (heading, data URI, caption).
    results: as in results.json.
    config: the run's config as plain values.
  """
  return template("page.html.jinja").render(
    title=title,
    story=story,
    tiles=tiles,
    pictures=pictures,
    header=table.HEADER,
    rows=list(table.rows(results)),
    timing=results["timing_seconds"],
    environment=results["environment"],
    config=json.dumps(config, indent=2),
  )
