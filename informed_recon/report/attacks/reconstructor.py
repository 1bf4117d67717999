"""How a reconstructor network learned."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from informed_recon.report.attacks import Picture, Run, Shown


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
  return Shown({"training": picture})


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


def losses(
  logs: Mapping[str, Sequence[Mapping]], palette: Mapping[str, str]
) -> Figure:
  """Losses of each reconstructor network by epoch."""
  figure = Figure(figsize=(6.2, 3.9), layout="constrained")
  axis = figure.add_subplot()
  for name, rows in logs.items():
    epochs = [row["epoch"] for row in rows]
    for key, style in (("train_loss", ":"), ("held_loss", "-")):
      if rows[0][key] is None:
        continue
      axis.plot(
        *(epochs, [row[key] for row in rows], style),
        color=palette[name],
        label=f"{name}, {'held out' if key == 'held_loss' else 'training'}",
      )
  axis.set_yscale("log")
  axis.set_xlabel("epoch")
  axis.set_ylabel("loss on shadow models")
  axis.legend(fontsize=8)
  return figure
