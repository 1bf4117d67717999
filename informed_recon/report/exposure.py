"""Record by record: who is most exposed, who least, and which class."""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from informed_recon.report import figures, table, words
from informed_recon.report.attacks import Run
from informed_recon.report.verdict import ORACLE, RUNNABLE

MOST, LEAST = 10, 5  # records listed
COLUMNS = 6  # of each group of pictures
FEATURES = 6  # of a row that are written out


class Gallery(NamedTuple):
  """Pictures in groups of columns."""

  labels: Sequence[str]  # of the rows of each group
  groups: Sequence[tuple[str, Sequence[Sequence[str]]]]  # title, rows of URIs


class Exposure(NamedTuple):
  """Tables of records, the most exposed first."""

  header: Sequence[str]
  most: Sequence[Sequence[str]]  # cells; a data URI is a picture
  least: Sequence[Sequence[str]]
  classes: Sequence[Sequence[str]]  # class, targets, recovered, median error
  link: str  # to all of them, from the page


def gallery(run: Run, order: np.ndarray, best: str) -> Gallery | None:
  """Best, median and worst targets in pictures, if the records are images.

  Args:
    run: of the attacks.
    order: targets from the smallest error to the largest.
    best: attack or baseline that is shown in any case.
  """
  truth = run.experiment.records("targets").x
  if not words.is_image(truth.shape[1:]):
    return None
  rows = {"target": truth}
  rows |= {name: a.answers.x for name, a in run.attacks.items()}
  if best in run.baselines:
    rows[table.title(best)] = run.baselines[best]
  rows["nearest known"] = run.baselines[ORACLE]
  count = len(order)
  width = max(1, min(COLUMNS, count // 3))
  middle = (count - width) // 2
  groups = {
    "most exposed": order[:width],
    "median": order[middle : middle + width],
    "least exposed": order[count - width :],
  }
  few = min(map(len, rows.values()))
  if few < count:  # where some attack answered for few, show these too
    some = order[order < few][:COLUMNS]
    groups = {"answered by every attack": some} | groups
  return Gallery(
    list(rows),
    [
      (
        title,
        [
          [picture(x[i]) if i < len(x) else "" for i in ids]
          for x in rows.values()
        ],
      )
      for title, ids in groups.items()
    ],
  )


def least_error(run: Run) -> tuple[np.ndarray, np.ndarray]:
  """Of all that an adversary could run the smallest error for each target,
  (M,), and the index of who made it in `adversaries`."""
  errors = np.full((len(adversaries(run)), len(run.mse[ORACLE])), np.inf)
  for row, name in zip(errors, adversaries(run)):
    row[: len(run.mse[name])] = run.mse[name]
  return errors.min(0), errors.argmin(0)


def adversaries(run: Run) -> list[str]:
  return [*run.attacks, *(k for k in RUNNABLE if k in run.baselines)]


def exposure(run: Run, best: str) -> Exposure:
  """Who is exposed how much; classes by the attack `best`."""
  error, who = least_error(run)
  order = np.argsort(error, kind="stable")
  order = order[np.isfinite(error[order])]  # those that somebody answered for
  names = adversaries(run)
  header = ["rank", "record", "label", "truth", "best answer"]
  header += [f"{table.title(name)} MSE" for name in names]
  header += ["oracle MSE", "attack's own word"]
  rows = [
    _row(run, rank, i, names, names[who[i]])
    for rank, i in enumerate(order, start=1)
  ]
  some = [any(row[c] for row in rows) for c in range(len(header))]
  header, *rows = (
    [cell for cell, keep in zip(row, some) if keep] for row in [header, *rows]
  )
  least = rows[max(MOST, len(rows) - LEAST) :]
  link = f"{run.experiment.evaluation.name}/per_target.csv"
  return Exposure(header, rows[:MOST], least, _classes(run, best), link)


def _row(
  run: Run, rank: int, i: int, names: Sequence[str], who: str
) -> list[str]:
  records, ids = run.experiment.records("targets"), run.experiment.split.targets
  guess = run.attacks[who].answers.x if who in run.attacks else None
  guess = run.baselines[who] if guess is None else guess
  cells = [str(rank), str(ids[i]), f"{records.y[i]:g}"]
  cells += [_shown(records.x[i]), _shown(guess[i])]
  for name in names:
    known = i < len(run.mse[name])
    cells.append(table.number(run.mse[name][i]) if known else "")
  said = run.attacks[who].answers if who in run.attacks else None
  return [*cells, table.number(run.mse[ORACLE][i]), _own_word(said, i)]


def _own_word(said, i: int) -> str:
  """What an attack says of its answer, without knowing the truth."""
  if said is None:
    return ""
  parts = []
  if said.identifiable is not None:
    parts.append("sure" if said.identifiable[i] else "not sure")
  if said.residual is not None:
    parts.append(f"residual {said.residual[i]:.1e}")
  if said.error is not None:
    parts.append(f"error about {said.error[i]:.1e}")
  return ", ".join(parts)


def _classes(run: Run, best: str) -> list[list[str]]:
  """Exposure by class to one attack."""
  if not run.experiment.dataset.num_classes:
    return []
  mse = run.mse[best]
  labels = run.experiment.records("targets").y[: len(mse)]
  near = mse < run.mse[ORACLE][: len(mse)]
  return [
    [
      str(k),
      str((labels == k).sum()),
      table.share(float(near[labels == k].mean()), None),
      table.number(float(np.median(mse[labels == k]))),
    ]
    for k in np.unique(labels)
  ]


def _shown(record: np.ndarray) -> str:
  """A record as a picture, or its first features."""
  if words.is_image(record.shape):
    return picture(record)
  flat = record.ravel()
  text = " ".join(f"{value:.3g}" for value in flat[:FEATURES])
  return text + " …" * (len(flat) > FEATURES)


def picture(image: np.ndarray) -> str:
  """An image (h, w, c) in [0, 1], pixel for pixel, as a data URI."""
  pixels = np.rint(np.nan_to_num(image).clip(0, 1) * 255).astype(np.uint8)
  if pixels.shape[-1] == 1:  # ink on paper, as in the other figures
    pixels = 255 - pixels[..., 0]
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, format="png")
  return figures.data_uri(buffer.getvalue())
