"""Whether a record read off a stationary point is known to be right."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from informed_recon.report import figures, table
from informed_recon.report.attacks import Picture, Run, Shown
from informed_recon.storage import files

WHAT = (
  "the missing record's gradient, which is minus everyone else's where "
  "training has converged"
)
OPEN_TO = "model"  # configs with this group
FAR = 1.0  # of `short`, above which what training left outweighs the record


def show(run: Run, names: Sequence[str]) -> Shown:
  kept = {name: read(run, name) for name in names}
  picture = Picture(
    "Does the attack know how near it is?",
    "The error an attack states of its own answer, from what the answer leaves "
    "unexplained, against the true one. On the line both are equal.",
    self_check(
      {
        name: (rows["error"] ** 2, run.mse[name]) for name, rows in kept.items()
      },
      {name: run.attacks[name].answers.identifiable for name in names},
      run.palette,
    ),
  )
  story, warnings = [], []
  for name, rows in kept.items():
    story.append(_says(name, run.results["attacks"][name], rows))
    spec = run.experiment.config.stationarity[name]
    if spec.tolerance:
      story[-1] += (
        " Its models are those of this run trained on, with weight decay "
        f"{spec.l2:g}, until their gradient was at most {spec.tolerance:g}."
      )
    short = np.median(rows["short"])
    if short > FAR:
      warnings.append(
        f"The models that “{name}” attacked are not near a stationary "
        f"point: what training left of their gradient is {short:.3g} times "
        "the missing record's own. Longer training, with weight decay, may "
        "leak more."
      )
  return Shown({"stationarity": picture}, story, warnings)


def read(run: Run, name: str) -> dict[str, np.ndarray]:
  """What the attack kept of all its targets, (M,) each."""
  folder = run.experiment.workdir / "stationarity" / name
  every = [files.read_arrays(p) for p in sorted(folder.glob("target-*.npz"))]
  return {
    key: np.stack([one[key] for one in every])
    for key in ("error", "short", "seconds")
  }


def self_check(
  pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
  vouched: Mapping[str, np.ndarray],
  palette: Mapping[str, str],
) -> Figure:
  """Stated against true error, both MSE (M,); filled: vouched for."""
  figure = Figure(figsize=figures.SIZE, layout="constrained")
  axis = figure.add_subplot()
  for name, (stated, true) in pairs.items():
    stated, true = stated.clip(1e-32, 1e3), true.clip(1e-32, 1e3)
    for which, marker, text in (
      (vouched[name], "o", "vouched for"),
      (~vouched[name], "x", "not vouched for"),
    ):
      if which.any():
        axis.plot(
          stated[which],
          true[which],
          marker,
          **dict(color=palette[name], ms=4, alpha=0.7),
          label=f"{name}, {text} ({which.sum()})",
        )
  ends = [min(map(min, pair)) for pair in pairs.values()]
  line = np.array([max(min(ends), 1e-32), 1.0])
  axis.plot(line, line, color="#aaaaaa", lw=0.8, ls="--")
  axis.set_xlabel("error it states (MSE)")
  axis.set_ylabel("true error (MSE)")
  for which in ("x", "y"):
    figures.log_axis(axis, which)
  figures.legend(figure, axis)
  return figure


def _says(name: str, row: Mapping, rows: Mapping[str, np.ndarray]) -> str:
  """What a row of results.json says of the attack."""
  return (
    f"Reading the missing record's gradient off the released weights ({name}), "
    f"without knowing how they were trained, for {row['targets']:,} of the "
    f"missing records: median squared error {table.number(row['mse_median'])}, "
    f"{row['success_rate']:.1%} nearer than any known record, "
    f"{row['label_accuracy']:.1%} of the labels right, "
    f"{1 - row['flagged_rate']:.1%} vouched for, {row['trusted_wrong']:,} of "
    "these wrong. No shadow model was trained; it took "
    f"{np.median(rows['seconds']):.2g} seconds a record. What training had "
    f"left of the gradient was {np.median(rows['short']):.1e} times the "
    "record's own (median)."
  )
