"""How much noise keeps reconstruction below a wanted success rate.

python -m launch.privacy --kappa=0.01 --max_success=0.1 --records=1000 \
  --batch=100 --steps=100
"""

import math

from absl import flags

from informed_recon.dp import planner
from informed_recon.report import table
from informed_recon.types import UserError
from launch import app

_KAPPA = flags.DEFINE_float("kappa", None, "success of the best blind guess")
_LOG_KAPPA = flags.DEFINE_float("log_kappa", None, "its logarithm instead")
_MAX_SUCCESS = flags.DEFINE_float("max_success", None, "success to tolerate")
_RECORDS = flags.DEFINE_integer("records", None, "training records")
_BATCH = flags.DEFINE_integer("batch", 0, "expected batch; 0: all records")
_STEPS = flags.DEFINE_integer("steps", None, "training steps")
_DELTA = flags.DEFINE_float("delta", 1e-5, "at which epsilon is given")

OTHERS = (0.9, 0.5, 0.25, 0.1, 0.05)  # goals shown beside the one asked for
HEADER = ("success at most", "noise multiplier", "epsilon", "advantage at most")
NOTE = "advantage: TPR - FPR\nof a membership test; add or remove one record"

REQUIRED = ("max_success", "records", "steps")


def main(argv):
  del argv
  batch = _BATCH.value or _RECORDS.value
  if not 1 <= batch <= _RECORDS.value:
    raise UserError(
      f"batch must lie in [1, records = {_RECORDS.value}], got {batch}"
    )
  rate, steps, delta = batch / _RECORDS.value, _STEPS.value, _DELTA.value
  blind = dict(kappa=_KAPPA.value, log_kappa=_LOG_KAPPA.value)

  def plan(goal):
    return planner.plan(goal, rate, steps, delta, **blind)

  try:
    best = plan(_MAX_SUCCESS.value)
    guess = _KAPPA.value or math.exp(_LOG_KAPPA.value)
    plans = {goal: plan(goal) for goal in OTHERS if goal > guess}
  except ValueError as error:
    raise UserError(str(error)) from None
  rows = [
    (f"{goal:g}", *(f"{value:.4g}" for value in (p[0], p[2], p[3])))
    for goal, p in {_MAX_SUCCESS.value: best, **plans}.items()
  ]
  print(f"noise multiplier {best.noise_multiplier}")
  print(f"epsilon {best.epsilon:.4g} at delta {delta:g}\n")
  print(table.aligned([HEADER, *rows]))
  print(f"\nblind guess {guess:.3g}, sampling probability {rate:g}; {NOTE}")


if __name__ == "__main__":
  app.run(main, REQUIRED)
