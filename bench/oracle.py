"""The nearest-neighbour oracle, against scikit-learn's.

python -m bench.oracle [--quick]

1,000 targets among 60,000 records of 784 features: the error of the closest
record, as `baselines` computes it, and as sklearn.metrics does.
"""

import json

import numpy as np
from absl import app, flags
from sklearn.metrics import pairwise_distances_argmin_min

from bench import interleaved
from informed_recon import stages
from informed_recon.evaluation import baselines

_QUICK = flags.DEFINE_bool("quick", False, "a tenth of the records, one round")
TARGETS, RECORDS, FEATURES = 1000, 60_000, 784


def main(argv):
  del argv
  records = RECORDS // 10 if _QUICK.value else RECORDS
  rng = np.random.default_rng(0)
  held = rng.random((records, FEATURES), np.float32)
  targets = rng.random((TARGETS, FEATURES), np.float32)
  found = {}

  def ours():
    found["ours"] = baselines.nearest_neighbour_oracle(targets, held).mse

  def peer():
    _, distance = pairwise_distances_argmin_min(targets, held)
    found["peer"] = distance**2 / FEATURES

  seconds = interleaved(dict(ours=ours, peer=peer), 1 if _QUICK.value else 5)
  row = dict(
    case=f"nearest of {records} records to {TARGETS} targets",
    ours=round(seconds["ours"], 3),
    peer=round(seconds["peer"], 3),
    ratio=round(seconds["peer"] / seconds["ours"], 2),
    unit="s",
    error=float(np.abs(found["ours"] / found["peer"] - 1).max()),
  )
  print(json.dumps(row))
  print(json.dumps(dict(environment=stages.environment())))


if __name__ == "__main__":
  app.run(main)
