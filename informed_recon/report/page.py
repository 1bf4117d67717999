"""The HTML page: self-contained, readable without knowing the project."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
from matplotlib.figure import Figure

from informed_recon.report import figures
from informed_recon.report.attacks import Picture
from informed_recon.report.exposure import Exposure, Gallery
from informed_recon.storage import files

FOLDER = pathlib.Path(__file__).parent


class Page(NamedTuple):
  """What a page says of an experiment's results."""

  story: Sequence[str]  # paragraphs: what was attacked and what came of it
  tiles: Sequence[tuple[str, str, str]]  # number, what it is, remark
  pictures: Mapping[str, Picture]  # by file name; the first is shown on top
  header: Sequence[str]  # of the table
  rows: Sequence[Sequence[str]]  # cells; an interval follows its value in [ ]
  note: str  # how to read the table
  title: str = ""  # "": that of the experiment
  warnings: Sequence[str] = ()  # before believing the numbers
  gallery: Gallery | None = None  # in place of the first picture
  exposure: Exposure | None = None  # record by record
  limits: str = ""  # what was not tried


def save_figure(path: pathlib.Path, figure: Figure) -> str:
  """Saves a PNG; returns it as a data URI for the page."""
  image = figures.png(figure)
  files.write(path, lambda f: f.write(image))
  return figures.data_uri(image)


def template(name: str) -> jinja2.Template:
  """A template of this folder by file name."""
  return jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=".html" in name,
    trim_blocks=True,
    lstrip_blocks=True,
  ).get_template(name)


def render(
  content: Page,
  *,
  title: str,
  images: Mapping[str, str],
  timing: Mapping[str, float],
  environment: Mapping[str, str],
  config: Mapping,
) -> str:
  """The page as text.

  Args:
    content: what it says.
    title: of the experiment.
    images: name of a picture -> data URI.
    timing: stage -> seconds.
    environment: machine and versions.
    config: the run's config as plain values.
  """
  return template("page.html.jinja").render(
    content=content._replace(title=content.title or title),
    pictures=[
      (picture.heading, images[name], picture.caption)
      for name, picture in content.pictures.items()
    ],
    title=title,
    timing=timing,
    environment=environment,
    config=json.dumps(config, indent=2),
  )
