"""What shadow training costs against the number of models and of records.

python -m bench.growth [--quick] [--keep=FILE] [--figure=FILE]

The public notebook's network on MNIST digits. Seconds of N models on 1,000
records, and seconds a model on n records, trained as an experiment trains; all
sizes in turn, medians of the rounds. A line is fitted to each by least squares:
its residual is the largest distance of a point from it, as a share of the
largest time. Below some 1,200 records, where the kernel form takes over, a
model costs less than the line of the others says; they are not part of it.
"""

import json
import pathlib

import numpy as np
import scipy.stats
from absl import app, flags
from matplotlib.figure import Figure

from bench import interleaved
from bench.shadow_training import CLASSES, OPTIONS, RATE, STEPS, digits
from informed_recon import models, prng, stages
from informed_recon.training import ensemble, loop, recipe
from informed_recon.training.fast import first_layer
from informed_recon.types import Records

_FIGURE = flags.DEFINE_string("figure", "", "file to draw the figure to")
COUNTS, RECORDS, WIDTH = (128, 256, 512, 1024, 2048), 1000, 10
SIZES, MODELS = (250, 500, 1000, 2000, 3000, 4000, 6000, 8000), 128
ROUNDS = 3


def main(argv):
  del argv
  counts, sizes = (
    (COUNTS[:2], SIZES[:2]) if flags.FLAGS.quick else (COUNTS, SIZES)
  )
  records = digits(max(RECORDS + max(counts), max(sizes) + MODELS))
  cases = {("N", count): trainer(records, RECORDS, count) for count in counts}
  cases |= {("n", size): trainer(records, size, MODELS) for size in sizes}
  seconds = interleaved(cases, ROUNDS)
  of_count = np.array([[c, seconds["N", c]] for c in counts]).T
  of_size = np.array([[n, seconds["n", n] / MODELS] for n in sizes]).T
  lines = [fit("seconds against N", *of_count)]
  far = of_size[:, of_size[0] > crossing(records)]
  if far.shape[1] > 2:
    lines.append(fit("seconds a model against n", *far))
  rows = [line | dict(points=p.T.tolist()) for line, p in zip(
    lines, (of_count, of_size)
  )]  # fmt: skip
  rows.append(dict(environment=stages.environment()))
  for row in rows:
    print(json.dumps(row))
  if flags.FLAGS.keep:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    pathlib.Path(flags.FLAGS.keep).write_text(text)
  if _FIGURE.value:
    draw(lines, of_count, of_size).savefig(_FIGURE.value, dpi=150)


def trainer(records: Records, n: int, count: int):
  """Trains `count` models on n records."""
  fixed = Records(*(a[:n] for a in records))
  targets = Records(*(a[-count:] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=WIDTH))
  spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS)
  train = loop.make_train(model, spec, lit=lit)
  many = ensemble.make_ensemble(train, ensemble.Threat())
  given = prng.root(0), fixed, targets
  hparams, ids = recipe.HParams(RATE), np.arange(count, dtype=np.int32)
  block = ensemble.block_size(many, *given, hparams)

  def run():
    for _ in ensemble.train_blocks(many, *given, ids, hparams, block):
      pass

  return run


def crossing(records: Records) -> int:
  """Records from which on multiplying features costs less than the kernel."""
  lit = np.any(records.x, axis=0).ravel()
  forms = first_layer.Dense(lit), first_layer.Span()
  costs = (
    [f.operations(n, lit.size, STEPS) for f in forms] for n in range(9999)
  )
  return next(n for n, (dense, span) in enumerate(costs) if 0 < dense < span)


def fit(case: str, size: np.ndarray, seconds: np.ndarray) -> dict:
  """A line and what it misses."""
  line = scipy.stats.linregress(size, seconds)
  missed = np.abs(line.intercept + line.slope * size - seconds).max()
  return dict(
    case=case,
    slope_ms=round(1e3 * line.slope, 4),
    intercept_ms=round(1e3 * line.intercept, 3),
    r2=round(line.rvalue**2, 5),
    residual=round(missed / seconds.max(), 4),
  )


def draw(lines, of_count, of_size) -> Figure:
  figure = Figure(figsize=(7, 3), layout="constrained")
  axes = figure.subplots(1, 2)
  labels = f"models N, on {RECORDS:,} records", "fixed records n"
  for axis, line, points, label in zip(
    axes, lines, (of_count, of_size), labels
  ):
    x = np.array([0, points[0].max()])
    y = line["intercept_ms"] / 1e3 + line["slope_ms"] / 1e3 * x
    axis.plot(x, y, color="0.6", lw=1.2)
    axis.plot(*points, "o", color="#c1272d")
    axis.set(xlabel=label, xlim=(0, None), ylim=(0, None))
    axis.set_title(f"R² {line['r2']:.4f}", fontsize=9, loc="left")
  axes[0].set_ylabel("seconds")
  axes[1].set_ylabel("seconds a model")
  return figure


if __name__ == "__main__":
  app.run(main)
