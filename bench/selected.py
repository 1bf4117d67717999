"""Do the records that adversarial training selects leak more than the others?

python -m bench.selected --runs=runs/robust [--keep=FILE]

DIR is a sweep of `robust_mnist`, run to its end. Where a part of the records is
attacked, every target's model is trained once more and the steps are counted in
which the target was among the selected. The rank correlation of that count with
the reconstructor's error tells whether the selected leak more (below 0); that
with the error of the same record under plain training, of the same seed, is the
control: records of large loss may be harder or easier to reconstruct anyway.
`corrected` is the partial rank correlation, the error under plain training held
fixed. Intervals: 1,000 bootstrap samples of targets.
"""

import csv
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict
from scipy import stats

from bench import printed
from informed_recon import experiment as experiments
from informed_recon.training import ensemble, loop
from informed_recon.training.recipe import cross_entropy
from informed_recon.types import Records, UserError

_RUNS = flags.DEFINE_string("runs", "runs/robust", "folder of the sweep")
flags.DEFINE_string("keep", "", "file for the rows as well")
DRAWS = 1000


def main(argv):
  del argv
  printed(rows(pathlib.Path(_RUNS.value)), flags.FLAGS.keep)


def rows(folder: pathlib.Path):
  runs = {}
  for path in sorted(folder.glob("points/*/config.json")):
    config = ConfigDict(json.loads(path.read_text())["config"])
    fraction = config.training.privacy.options.fraction
    runs[config.seed, fraction] = path.parent, config
  if not runs:
    raise UserError(f"{folder} has no points of robust_mnist")
  for (seed, fraction), (workdir, config) in sorted(runs.items()):
    if not 0 < fraction < 1:
      continue
    ids, count = selected(config, workdir)
    error, plain = (
      np.array([mse(runs[seed, f][0])[i] for i in ids]) for f in (fraction, 0.0)
    )
    often = count >= np.quantile(count, 2 / 3)
    seldom = count <= np.quantile(count, 1 / 3)
    yield dict(
      case=f"fraction {fraction}, seed {seed}",
      steps_selected=[float(v) for v in np.quantile(count, (0, 0.5, 1))],
      correlation=interval(correlation, count, error),
      control=interval(correlation, count, plain),
      corrected=interval(partial, count, error, plain),
      median_mse=dict(
        often=float(np.median(error[often])),
        seldom=float(np.median(error[seldom])),
        often_plain=float(np.median(plain[often])),
        seldom_plain=float(np.median(plain[seldom])),
      ),
    )


def mse(workdir: pathlib.Path) -> dict[int, float]:
  """Record -> the reconstructor's error."""
  with (workdir / "evaluation" / "per_target.csv").open() as file:
    rows = list(csv.DictReader(file))
  return {int(row["record"]): float(row["bilinear/mse"]) for row in rows}


def selected(config, workdir) -> tuple[np.ndarray, np.ndarray]:
  """The targets' records, and in how many steps each was among the selected."""
  experiment = experiments.build(config, workdir)
  recipe, hparams = experiment.training()
  model, fixed = experiment.model(), experiment.records("fixed")
  threat = ensemble.Threat(**config.threat)
  train = loop.make_train(model, recipe, transcript=True)
  chosen = round(recipe.mechanism_options["fraction"] * (len(fixed.y) + 1))

  def one(target, model_id):
    keys = ensemble.model_keys(experiment.key, threat, model_id)
    _, shown = train(keys, fixed, target, hparams)
    x = jnp.concatenate([fixed.x, target.x[None]])
    y = jnp.append(jnp.asarray(fixed.y), target.y)

    def among(params):
      loss = cross_entropy(model.apply(params, x), y)
      return jnp.sum(loss[:-1] >= loss[-1]) < chosen  # of equals the first

    return jnp.sum(jax.lax.map(among, shown.params))

  one, ids = jax.jit(one), experiment.split.targets
  targets = experiment.records("targets")
  counts = [
    int(one(Records(x, y), np.uint32(i))) for x, y, i in zip(*targets, ids)
  ]
  return ids, np.array(counts)


def correlation(a, b) -> float:
  return float(stats.spearmanr(a, b).statistic)


def partial(a, b, given) -> float:
  """Rank correlation of a and b with a third held fixed."""
  ab, ag, bg = correlation(a, b), correlation(a, given), correlation(b, given)
  return (ab - ag * bg) / np.sqrt((1 - ag**2) * (1 - bg**2))


def interval(statistic, *columns) -> dict:
  rng = np.random.default_rng(0)
  picks = rng.integers(len(columns[0]), size=(DRAWS, len(columns[0])))
  draws = [statistic(*(c[pick] for c in columns)) for pick in picks]
  low, high = np.quantile(draws, (0.025, 0.975))
  value = float(statistic(*columns))
  return dict(value=value, ci95=[round(float(v), 3) for v in (low, high)])


if __name__ == "__main__":
  app.run(main)
