"""What can be reconstructed from a private run, and how much noise is enough.

Backward, from a goal to the noise:
  informed-recon privacy --candidates=100 --max_success=0.1 --records=1000 \
    --batch=100 --epochs=10
Forward, from a run to what it allows:
  informed-recon privacy --kappa=0.01 --noise_multiplier=1.1 --records=60000 \
    --batch=600 --steps=1000 --sampling=shuffle --json=answer.json --plot=a.png
"""

import json
import math
from pathlib import Path

import numpy as np
from absl import flags

from informed_recon.dp import planner, priors, reach, sampling
from informed_recon.storage import files
from informed_recon.types import UserError

from . import app

_KAPPA = flags.DEFINE_float("kappa", None, "success of the best blind guess")
_LOG_KAPPA = flags.DEFINE_float("log_kappa", None, "its logarithm instead")
_CANDIDATES = flags.DEFINE_integer("candidates", None, "kappa = 1 / candidates")
_DATA = flags.DEFINE_string("data", None, ".npy of records (n, ...): kappa's")
_ETA = flags.DEFINE_float("eta", None, "with data: mean squared error to stay")
_MAX_SUCCESS = flags.DEFINE_float("max_success", None, "success to tolerate")
_NOISE = flags.DEFINE_float("noise_multiplier", None, "of a run to assess")
_RECORDS = flags.DEFINE_integer("records", None, "training records")
_BATCH = flags.DEFINE_integer(
  "batch", None, "expected batch; all records if not"
)
_STEPS = flags.DEFINE_integer("steps", None, "training steps")
_EPOCHS = flags.DEFINE_float("epochs", None, "in place of steps")
_DELTA = flags.DEFINE_float("delta", 1e-5, "at which epsilon is given")
_SAMPLING = flags.DEFINE_string("sampling", "poisson", "how batches are drawn")
_TABLE = flags.DEFINE_bool("table", False, "bounds over kappa and epsilon")
_QUESTION = flags.DEFINE_string("question", None, "JSON of these flags' values")
_JSON = flags.DEFINE_string("json", None, "file for the answer")
_PLOT = flags.DEFINE_string("plot", None, "file for the figure")

ASKED = ("kappa", "log_kappa", "candidates", "data", "eta", "max_success")
ASKED += ("noise_multiplier", "records", "batch", "steps", "epochs", "delta")
ASKED += ("sampling",)
OTHERS = (0.9, 0.5, 0.25, 0.1, 0.05)  # goals shown beside the one asked for
HEADER = ("success at most", "noise multiplier", "epsilon", "advantage at most")
NOTE = "advantage: TPR - FPR\nof a membership test; "
RELATIONS = {"poisson": "add or remove one record"}
CONFIDENCE = 0.95  # of kappa from data
PLOTS = (".png", ".pdf", ".svg")

REQUIRED = ()


def main(argv):
  del argv
  from informed_recon.report import plan as report
  from informed_recon.report import table
  from informed_recon.training import noise

  if _PLOT.value and Path(_PLOT.value).suffix not in PLOTS:
    raise UserError(f"plot must end in {PLOTS}, got {_PLOT.value!r}")
  asked = _question()
  rate, steps = _schedule(asked)
  try:
    log_kappa = _log_kappa(asked)
    setting = sampling.effective(asked["sampling"], rate, steps)
    found = _answer(asked, setting, log_kappa)
    goals = [g for g in OTHERS if math.log(g) > log_kappa]
    plans = (
      []
      if asked["max_success"] is None
      else [
        (
          goal,
          planner.plan(goal, *setting, asked["delta"], log_kappa=log_kappa),
        )
        for goal in goals
        if goal != asked["max_success"]
      ]
    )
    said = planner.warnings_of(
      found, *setting, asked["delta"], asked["records"]
    )
    if reach.delta(found.noise_multiplier, setting[1], noise.REACH) > 1e-9:
      said.append(
        "noise in floating point does not reach far enough for this noise "
        "multiplier: the stated epsilon is that of real Gaussian noise"
      )
  except ValueError as error:
    raise UserError(str(error)) from None
  print(f"noise multiplier {found.noise_multiplier}")
  print(f"epsilon {found.epsilon:.4g} at delta {asked['delta']:g}\n")
  rows = [
    (f"{goal:.4g}", *(f"{value:.4g}" for value in (p[0], p[2], p[3])))
    for goal, p in [(asked["max_success"] or found[1], found), *plans]
  ]
  print(table.aligned([HEADER, *rows]))
  relation = RELATIONS.get(
    asked["sampling"], "the target against none in place"
  )
  print(
    f"\nblind guess {math.exp(log_kappa):.3g}, sampling probability {rate:g}; "
    f"{NOTE}{relation}"
  )
  for text in said:
    print(f"warning: {text}")
  if _TABLE.value:
    print(f"\n{report.by_kappa_and_epsilon(*setting, asked['delta'])}")
  _write(asked, setting, log_kappa, found, said)


def _question() -> dict:
  """The flags' values; what they leave open is taken from `--question`."""
  asked = {name: flags.FLAGS[name].value for name in ASKED}
  if _QUESTION.value:
    try:
      given = json.loads(Path(_QUESTION.value).read_text())
    except (OSError, ValueError) as error:
      raise UserError(f"question: {error}") from None
    if not isinstance(given, dict) or not given.keys() <= set(ASKED):
      raise UserError(f"question must be a JSON object with keys of {ASKED}")
    for name, value in given.items():
      if value is not None and not flags.FLAGS[name].present:
        asked[name] = _parsed(name, value)
  for name in ("records", "batch", "steps", "candidates"):
    value = asked[name]
    if value is not None and (type(value) is not int or value < 1):
      raise UserError(f"{name} must lie in the integers from 1, got {value!r}")
  if asked["records"] is None:
    raise UserError("flag --records must be given")
  if (asked["max_success"] is None) == (asked["noise_multiplier"] is None):
    raise UserError(
      "give one of --max_success, to plan noise, and --noise_multiplier, to "
      "assess a run"
    )
  if (asked["steps"] is None) == (asked["epochs"] is None):
    raise UserError("give one of steps and epochs")
  return asked


def _parsed(name: str, value):
  """A value of the question as the flag of that name takes it."""
  try:
    return flags.FLAGS[name].parser.parse(value)
  except (TypeError, ValueError) as error:
    raise UserError(f"question: {name}={value!r}: {error}") from None


def _schedule(asked: dict) -> tuple[float, int]:
  """Sampling probability and steps."""
  batch = asked["batch"] or asked["records"]
  if batch > asked["records"]:
    raise UserError(
      f"batch must lie in [1, records = {asked['records']}], got {batch}"
    )
  rate = batch / asked["records"]
  if asked["steps"]:
    return rate, asked["steps"]
  epochs = asked["epochs"]
  if not 0 < epochs < math.inf:
    raise UserError(f"epochs must lie in (0, inf), got {epochs}")
  steps = epochs * sampling.steps_per_epoch(asked["sampling"], rate)
  return rate, max(1, math.ceil(steps - 1e-9))


def _log_kappa(asked: dict) -> float:
  sources = ("kappa", "log_kappa", "candidates", "data")
  given = [name for name in sources if asked[name] is not None]
  if len(given) != 1:
    raise UserError(
      "give one of kappa, in (0, 1], and log_kappa, or candidates, or data, "
      f"got {' and '.join(given) or 'none'}"
    )
  if given == ["candidates"]:
    return -math.log(asked["candidates"])
  if given == ["log_kappa"]:
    return float(asked["log_kappa"])
  if given == ["kappa"]:
    if not 0 < asked["kappa"] <= 1:
      raise UserError(f"kappa must lie in (0, 1], got {asked['kappa']}")
    return math.log(asked["kappa"])
  if asked["eta"] is None or not asked["eta"] > 0:
    raise UserError(f"eta must be positive beside data, got {asked['eta']}")
  points = _points(asked["data"])
  radius = math.sqrt(asked["eta"] * points[0].size)
  return math.log(priors.empirical_kappa_upper(points, radius, CONFIDENCE))


def _points(path: str) -> np.ndarray:
  """Records (n, ...)."""
  try:
    points = np.load(path, allow_pickle=False)
  except Exception as error:  # whatever numpy makes of garbage
    raise UserError(f"data: {error}") from None
  if not isinstance(points, np.ndarray) or points.ndim < 2 or not points.size:
    shape = getattr(points, "shape", "several arrays")
    raise UserError(f"data must be one array (n, ...) in .npy, got {shape}")
  return points


def _answer(asked: dict, setting: tuple, log_kappa: float) -> planner.Plan:
  if asked["max_success"] is not None:
    return planner.plan(
      asked["max_success"], *setting, asked["delta"], log_kappa=log_kappa
    )
  return planner.forward(
    *(asked["noise_multiplier"], *setting, asked["delta"]), log_kappa=log_kappa
  )


def _write(asked, setting, log_kappa, found, said) -> None:
  if _JSON.value:
    answer = found._asdict() | dict(
      epsilon=found.epsilon if math.isfinite(found.epsilon) else None,
      log_kappa=log_kappa,
      accounted_sampling_probability=setting[0],
      accounted_steps=setting[1],
      warnings=said,
      question={k: v for k, v in asked.items() if v is not None},
    )
    files.write_json(Path(_JSON.value), answer)
  if _PLOT.value:
    from informed_recon.report import plan as report

    path = Path(_PLOT.value)
    drawn = report.figure(found.noise_multiplier, *setting, log_kappa)
    files.write(path, lambda f: drawn.savefig(f, format=path.suffix[1:]))


if __name__ == "__main__":
  app.run(main, REQUIRED)
