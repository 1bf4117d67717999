"""How a reconstructor network learned."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from informed_recon.report import figures
from informed_recon.report.attacks import Picture, Run, Shown

WHAT = "a network that learns from shadow models to read records off weights"
OPEN_TO = "model"  # configs with this group
# A loss that fell by more than this in the last tenth of the epochs.
STILL_FALLING = 0.02


def show(run: Run, names: Sequence[str]) -> Shown:
  logs = read(run.experiment.workdir)
  logs = {name: logs[name] for name in names if logs.get(name)}
  if not logs:
    return Shown()
  picture = Picture(
    "Training of the reconstructor",
    "Losses on shadow models; the evaluation targets play no part.",
    losses(logs, run.palette),
  )
  warnings = [w for k, rows in logs.items() for w in still_improving(k, rows)]
  return Shown({"training": picture}, warnings=warnings)


def read(workdir: pathlib.Path) -> dict[str, list[dict]]:
  """Epoch rows of each reconstructor; a resumed run may have logged twice."""
  logs: dict[str, dict[int, dict]] = {}
  path = workdir / "metrics.jsonl"
  text = path.read_text(errors="replace") if path.exists() else ""
  for line in text.splitlines():
    try:
      row = json.loads(line)
      logs.setdefault(row["name"], {})[int(row["epoch"])] = {
        key: row[key] and float(row[key]) for key in ("train_loss", "held_loss")
      } | dict(epoch=row["epoch"])
    except (ValueError, KeyError, TypeError):
      continue  # another stage's, or torn when the disk was full
  return {
    name: [rows[epoch] for epoch in sorted(rows)] for name, rows in logs.items()
  }


def still_improving(name: str, epochs: Sequence[Mapping]) -> Iterator[str]:
  """Whether a network's loss was falling when its training ended."""
  kind = "held_loss" if epochs[0]["held_loss"] is not None else "train_loss"
  losses = [row[kind] for row in epochs]
  tail = max(1, len(losses) // 10)
  if len(losses) < 2 * tail:
    return
  last = sum(losses[-tail:]) / tail
  before = sum(losses[-2 * tail : -tail]) / tail
  if last < (1 - STILL_FALLING) * before:
    yield (
      f"The network of “{name}” was still improving when its training ended "
      f"after {epochs[-1]['epoch']} epochs (its loss fell by "
      f"{1 - last / before:.0%} in the last {tail}): train it longer."
    )


def losses(
  logs: Mapping[str, Sequence[Mapping]], palette: Mapping[str, str]
) -> Figure:
  """Losses of each reconstructor network by epoch."""
  figure = Figure(figsize=figures.SIZE, layout="constrained")
  axis = figure.add_subplot()
  for name, rows in logs.items():
    epochs = [row["epoch"] for row in rows]
    for key, style in (("train_loss", ":"), ("held_loss", "-")):
      if rows[0][key] is None:
        continue
      axis.plot(
        epochs,
        [row[key] for row in rows],
        style,
        color=palette[name],
        label=f"{name}, {'held out' if key == 'held_loss' else 'training'}",
      )
  figures.log_axis(axis, "y")
  axis.set_xlabel("epoch")
  axis.set_ylabel("loss on shadow models")
  figures.legend(figure, axis)
  return figure
