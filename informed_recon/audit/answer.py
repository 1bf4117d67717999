"""What an audit found: a table, figures, a page and a statement."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import matplotlib.figure
import numpy as np
import pandas as pd

from informed_recon.audit import frame as frames
from informed_recon.audit import statement
from informed_recon.report import figures, page
from informed_recon.storage import files
from informed_recon.types import UserError

PICTURES = 6  # records shown
LEGEND = {  # of the table's columns, on the page
  "ended": "the search came to its end; no verdict rests on one cut short.",
  "mse": f"mean square error of the answer, {statement.UNIT}.",
  "oracle_mse": "that of the nearest other record, in the same unit.",
  "blind_mse": "that of the mean of the other records of the label, a guess "
  "without the model.",
  "confident": "vouched for by the attack, which does not know the record.",
  "error": "the attack's own estimate of its root mean square error, in "
  "spreads (images: in ranges).",
  "residual": "share of the record's influence that the answer leaves "
  "unexplained: 0 is all explained.",
  "influence": "distance in the parameters by which the release moves when a "
  "typical record takes the place of this one.",
}
MISSING = {"mse": "not searched", "influence": "not measured"}  # on the page


@dataclasses.dataclass(frozen=True)
class Audit:
  """The answer of `audit` and `audit_released`.

  `table` has one row a record; errors are mean squares over the features, each
  in its spread (its scale in `frame`), which for images is their range:
    record: its index in x.
    label: its own label or response.
    attack: the attack that answered; "none" where no time was left.
    ended: whether the search came to its end; what time cut short is shown, but
      no verdict rests on it.
    mse: error of the answer.
    oracle_mse: of the nearest other record, chosen by an oracle.
    blind_mse: of the mean of the other records of its label, which needs no
      model; of all others where the response is a real one.
    confident: vouched for, without knowledge of the record.
    label_found: the label the attack found; None where others explain the
      release as well, and the features alone are vouched for.
    error: the attack's own estimate, the root mean square in spreads.
    residual: share of the record's influence that stays unexplained.
    influence: norm by which the release moves when a typical record takes the
      place of this one.
  """

  table: pd.DataFrame
  reconstructions: Mapping[int, np.ndarray]  # record -> (*shape)
  truth: Mapping[int, np.ndarray]  # likewise
  facts: Mapping[str, Any]  # tried, measured, ...: see `statement`
  remedies: pd.DataFrame | None = None  # what other trainings change; `compare`

  @property
  def statement(self) -> str:
    """Plain text for the file: what was tried, measured, proven, combined."""
    return statement.text(self.facts)

  def most_exposed(self, k: int = 10) -> pd.DataFrame:
    """The k most exposed records: those vouched for first, then those that move
    the release most."""
    order = ["confident", "influence", "mse"]
    return self.table.sort_values(
      order, ascending=[False, False, True], kind="stable"
    ).head(k)

  def plot(self) -> matplotlib.figure.Figure:
    """Error of each record against that of its nearest other record."""
    figure = matplotlib.figure.Figure(figsize=(6.2, 4), layout="constrained")
    axis = figure.add_subplot()
    done = self.table[self.table.mse.notna()]
    for sure, colour in ((False, "#aaaaaa"), (True, "#c1272d")):
      part = done[done.confident == sure]
      axis.scatter(
        part.oracle_mse,
        part.mse,
        s=14,
        color=colour,
        label="vouched for" if sure else "not vouched for",
      )
    if len(done):
      positive = done.oracle_mse[done.oracle_mse > 0]
      low = float(positive.min()) if len(positive) else 1e-3
      high = float(done.oracle_mse.max()) or 1.0
      axis.plot([low, high], [low, high], color="#333333", ls=":", lw=1)
      axis.set(xscale="log", yscale="log")
    axis.set_xlabel("error of the nearest other record (MSE in spreads)")
    axis.set_ylabel("error of the reconstruction (MSE in spreads)")
    axis.legend(fontsize=8.5)
    return figure

  def pictures(self) -> matplotlib.figure.Figure | None:
    """Records above, reconstructions below; None where they are no images."""
    exposed = self.most_exposed(len(self.table)).record
    ids = [i for i in exposed if i in self.reconstructions][:PICTURES]
    shapes = {self.truth[i].shape for i in ids}
    shape = next(iter(shapes), ())
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
      return None
    top = 255 if max(self.truth[i].max() for i in ids) > 1 else 1
    figure = matplotlib.figure.Figure(figsize=(1.3 * len(ids), 2.8))
    for column, i in enumerate(ids):
      for row, image in enumerate((self.truth[i], self.reconstructions[i])):
        axis = figure.add_subplot(2, len(ids), row * len(ids) + column + 1)
        image = np.asarray(image, float) / top
        figures.show(axis, image if image.ndim == 3 else image[..., None])
        if not row:
          axis.set_title(f"record {i}", fontsize=9)
    return figure

  def to_csv(self, path) -> None:
    files.write_text(_path(path), self.table.to_csv(index=False))

  def to_json(self, path) -> None:
    """The statement's facts and the table, for machines."""
    rows = self.table.astype(object).where(self.table.notna(), None)
    files.write_json(
      _path(path), dict(self.facts, records=rows.to_dict("records"))
    )

  def report(self, path) -> None:
    """A page at `path`, and the same as JSON beside it."""
    path = _path(path)
    images = []
    for figure, caption in (
      (self.pictures(), "The records above, what the attack found below."),
      (self.plot(), "Below the dotted line: nearer than any other record."),
    ):
      if figure is not None:
        images.append((figures.data_uri(figures.png(figure)), caption))
    exposed = self.most_exposed(20)
    html = page.template("audit.html.jinja").render(
      facts=self.facts,
      sections=statement.SECTIONS,
      images=images,
      header=list(exposed.columns),
      rows=[
        [_cell(*cell) for cell in row.items()]
        for row in exposed.to_dict("records")
      ],
      legend=LEGEND,
    )
    files.write_text(path, html)
    self.to_json(path.with_suffix(".json"))


def _path(path) -> pathlib.Path:
  path = pathlib.Path(path)
  if path.is_dir():
    raise UserError(f"{path} is a folder; give the name of a file")
  return path


def _cell(column: str, value) -> str:
  if value is None or value != value:
    return MISSING.get(column, "–")
  if isinstance(value, (bool, np.bool_)):
    return "yes" if value else "no"
  return f"{value:.3g}" if isinstance(value, float) else str(value)


def answer(
  frame,
  x,
  y,
  chosen,
  found,
  attack: str,
  tried,
  notes,
  move=None,
  hurried=False,
) -> Audit:
  """The `Audit` of what one attack found.

  Args:
    frame, x, y, chosen: as in `attack.attack`.
    found: index of a record -> `Found`.
    attack: the attack's name in the table.
    tried: sentences for the statement on what was done.
    notes: further sentences for the statement.
    move: (M,) norm by which the release moves without each chosen record; None:
      not measured.
    hurried: whether a stronger attack was possible, had there been time.
  """
  if move is None:
    move = np.full(len(chosen), np.nan)
  table = _table(frame, x, y, chosen, found, attack, move)
  pictures = {i: f.x for i, f in found.items()}
  truth = {i: x[i] for i in pictures}
  ended = [i for i, f in found.items() if f.ended]
  pair = None
  if ended:
    d = frame.features
    rows = [np.stack([a[i].ravel() for i in ended]) for a in (truth, pictures)]
    pair = tuple(row / frame.scale[:d] for row in rows)
  facts = statement.facts(
    table,
    records=len(x),
    tried=tried,
    notes=notes,
    answers=pair,
    hurried=hurried,
  )
  return Audit(table, pictures, truth, facts)


def _table(frame, x, y, chosen, found, attack, move) -> pd.DataFrame:
  d = frame.features
  u, labels = frame.pack(x, y)[:, :d], y.reshape(len(y), -1)
  rows = []
  for i, moved in zip(chosen.tolist(), move):
    one = found.get(i)
    others = np.arange(len(u)) != i
    alike = others & (labels == labels[i]).all(1)
    blind = u[alike if frame.labels is not None and alike.any() else others]
    wrong = np.nan
    if one:
      # In float64, for answers that are right to more digits than u has.
      off = np.asarray(one.x, float).ravel() - np.asarray(x[i], float).ravel()
      wrong = _square(off / frame.scale[:d])
    rows.append(
      dict(
        record=i,
        label=frames.numbers(y[i]),
        attack=attack if one else "none",
        ended=bool(one and one.ended),
        mse=wrong,
        oracle_mse=_square(u[frames.nearest(u, i)] - u[i]),
        blind_mse=_square(blind.mean(0, dtype=float) - u[i]),
        confident=one.confident if one else False,
        label_found=frames.numbers(one.y)
        if one and one.y is not None and one.told
        else None,
        error=one.error if one else np.nan,
        residual=one.residual if one else np.nan,
        influence=float(moved),
      )
    )
  return pd.DataFrame(rows)


def _square(difference) -> float:
  return float(np.mean(np.square(difference, dtype=float)))
