"""The page of a sweep: figure, what it shows, what became of each point."""

from collections.abc import Sequence
from typing import Any

from informed_recon.report import page


def render(
  *,
  title: str,
  sentences: Sequence[str],
  image: str | None,
  states: Sequence[Sequence[Any]],
  header: Sequence[str],
  rows: Sequence[Sequence[Any]],
) -> str:
  """The page as text.

  Args:
    title: of the sweep.
    sentences: what the figure shows.
    image: the figure as a data URI, if the sweep asks for one.
    states: (point, state, remark, seconds) of each point.
    header: names of the columns of `rows`.
    rows: some of results.csv.
  """
  return page.template("sweep.html.jinja").render(
    title=title,
    sentences=sentences,
    image=image,
    states=[
      (name, what, f"{seconds:.0f}" if seconds else "", remark)
      for name, what, remark, seconds in states
    ],
    header=list(header),
    rows=[[_cell(value) for value in row] for row in rows],
  )


def _cell(value: Any) -> str:
  if value is None:
    return ""
  return f"{value:.4g}" if isinstance(value, float) else str(value)
