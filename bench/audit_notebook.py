"""Does the audit find what the simulation attack of a run finds?

python -m bench.audit_notebook [--quick] [--keep=FILE]

The public notebook's setting (configs/simulation_mnist.py; network 784-10-10,
1,000 fixed records of MNIST, 100 full-batch steps). `launch.run` searches for
the first evaluation targets with its own `train`, starts and settings; the
audit is handed the same training as a function (key, x, y) of the fixed set
with the target behind it, and is told nothing else.
"""

import argparse
import tempfile
import time

import numpy as np

from bench import printed
from informed_recon import audit, stages
from informed_recon.configs import simulation_mnist
from informed_recon.storage import answers
from informed_recon.training import ensemble
from informed_recon.types import Records


def training_of(experiment):
  """The run's training as the audit wants it: of the records (n + 1), the last
  one being the target."""
  _, hparams = experiment.training()
  one = ensemble.make_one(
    experiment.train(), ensemble.Threat(**experiment.config.threat)
  )

  def train(key, x, y):
    fixed, target = Records(x[:-1], y[:-1]), Records(x[-1], y[-1])
    return one(key, fixed, target, ensemble.BASE_ID, hparams)

  return train


def compare(config, workdir: str):
  """A dictionary a target: both attacks' MSE and whether they vouch for it."""
  count = config.simulations.simulation.targets
  begun = time.monotonic()
  stages.run(config, workdir)
  seconds = time.monotonic() - begun
  experiment = stages.build(config, workdir)
  run = answers.read(experiment.workdir, "simulation").answers
  fixed, targets = (experiment.records(k) for k in ("fixed", "targets"))
  train = training_of(experiment)
  for i in range(count):
    x = np.concatenate([fixed.x, targets.x[i : i + 1]])
    y = np.append(fixed.y, targets.y[i])
    begun = time.monotonic()
    row = audit.audit(
      train, x, y, records=[len(fixed.y)], key=experiment.key
    ).table.iloc[0]
    yield dict(
      target=i,
      run_mse=float(np.mean((run.x[i] - targets.x[i]) ** 2)),
      run_vouches=bool(run.identifiable[i]),
      audit_mse=float(row.mse),
      audit_vouches=bool(row.confident),
      oracle_mse=float(row.oracle_mse),
      label_right=bool(row.label_found == row.label),
      seconds=round(time.monotonic() - begun, 1),
      run_seconds=round(seconds / count, 1),
    )


def rows(config):
  with tempfile.TemporaryDirectory() as workdir:
    found = []
    for row in compare(config, workdir):
      found.append(row)
      yield row
  sure = [row for row in found if row["audit_vouches"]]
  yield dict(
    case=f"audit against launch.run, {len(found)} targets",
    ours=sum(row["audit_mse"] <= 1e-3 for row in found),
    peer=sum(row["run_mse"] <= 1e-3 for row in found),
    unit="records at MSE ≤ 1e-3",
    vouched_for=len(sure),
    worst_vouched_for=max((row["audit_mse"] for row in sure), default=None),
    run_vouches=sum(row["run_vouches"] for row in found),
  )


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true")
  parser.add_argument("--targets", type=int, default=8)
  parser.add_argument("--keep", default="", help="file for the rows as well")
  args = parser.parse_args()
  config = simulation_mnist.get_config("quick" if args.quick else "")
  config.stages = ("shadow", "simulation", "evaluate", "report")
  config.split.shadow = 0
  del config.simulations.refined
  config.reconstructors = {}
  count = 3 if args.quick else args.targets
  config.split.targets = count
  config.simulations.simulation.targets = count
  printed(rows(config), args.keep)


if __name__ == "__main__":
  main()
