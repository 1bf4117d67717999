"""What makes a model leak: one factor of the pipeline changed at a time.

The embedded MNIST sample: 500 fixed records, 784-10-10 ELU, 100 full-batch
steps of SGD with momentum, 2,000 shadow models, 200 targets. Every point
changes one thing, and every attack that applies answers: a reconstructor
network and ridge regression on all targets, simulated training on 4 of them,
the stationarity of the weights where there is weight decay. Three seeds of
split, initialisation and reconstructor; all factors' first seed comes first.

`:NAME` runs one factor, `:interaction` steps × L2 × width, `:NAME,paper` at the
paper's sizes (TFDS set `mnist`), `:NAME,quick` a smoke test; the underlined
name of `initial weights` is `initial_weights`.

Measured: docs/findings.md.

python -m launch.sweep --config=configs/factors.py --workdir=runs/factors
"""

from informed_recon.configs import default

CURVE = "factors"  # file name in informed_recon/report/curves/
SEEDS = 3
STAGES = ("shadow", "reconstructor", "simulation", "evaluate")
STATIONARY = {"stages": (*STAGES[:-1], "stationarity", "evaluate")}
NO_SIMULATION = {"stages": ("shadow", "reconstructor", "evaluate")}
SETTINGS = "training.privacy"
PRIVATE = {f"{SETTINGS}.mechanism": "dp_sgd", **NO_SIMULATION}


def _each(path, values, **more):
  """A point for each value of one setting."""
  return {f"{value:g}": {path: value} | more for value in values}


def _shadows(count):
  """So many shadow models, and as many steps of the reconstructor as ever."""
  return {
    "split.shadow": count,
    "reconstructors.network.epochs": 40_000 // count,
  }


# Of networks without a dense first layer. Their training is dear: a quarter of
# the shadow models, so that they have a baseline of their own.
_FEW = _shadows(500)
_IMAGE = {
  **_FEW,
  "reconstructors.network.network": "conv",
  **NO_SIMULATION,
}
_BATCHES = {
  f"{size}, {word}": {
    "training.batch_size": size,
    "threat.shared_order": word == "known",
  }
  for size in (50, 10)
  for word in ("known", "secret")
}

# name -> (label of the baseline, label of each other point -> its overrides).
# A baseline that is among the points is the factor's own.
FACTORS = {
  "fixed records": ("500", _each("split.fixed", (100, 250, 1000, 2000))),
  "shadow models": ("2000", {"250": _shadows(250), "1000": _shadows(1000)}),
  "width": ("10", _each("model.options.width", (5, 30, 100))),
  "depth": ("1", _each("model.options.depth", (2, 3))),
  "activation": (
    "elu",
    {n: {"model.options.activation": n} for n in ("relu", "tanh", "softplus")},
  ),
  "optimizer": (
    "momentum",
    {
      "sgd": {"training.optimizer_options.momentum": 0.0},
      "adam": {
        "training.optimizer": "adam",
        "training.optimizer_options.eps_root": 1e-8,  # a derivative at 0
        "training.learning_rate": 0.003,
      },
      "adamw": {
        "training.optimizer": "adamw",
        "training.optimizer_options.eps_root": 1e-8,
        "training.optimizer_options.weight_decay": 0.1,
        "training.learning_rate": 0.003,
      },
    },
  ),
  "steps": ("100", _each("training.steps", (10, 30, 300, 1000))),
  "weight decay": (
    "0",
    _each("training.l2", (1e-4, 1e-3, 1e-2, 1e-1), **STATIONARY),
  ),
  "batch": ("all", _BATCHES),
  "initial weights": ("known", {"secret": {"threat.shared_init": False}}),
  "privacy": (
    "none",
    {
      "clipped": PRIVATE | {f"{SETTINGS}.noise_multiplier": 0.0},
      "ε = 1000": PRIVATE | {f"{SETTINGS}.epsilon": 1000.0},
      "ε = 100": PRIVATE | {f"{SETTINGS}.epsilon": 100.0},
    },
  ),
  "architecture": (
    "mlp",
    {
      "mlp": _FEW,
      "linear": _FEW | {"model.name": "linear"},
      "convnet": {
        **_IMAGE,
        "model.name": "convnet",
        "model.options.widths": (8, 16),
        "model.options.pooling": "stride",
      },
    },
  ),
}
GRID = {
  "training.steps": (100, 1000, 5000),
  "training.l2": (1e-4, 1e-3, 1e-2),
  "model.options.width": (10, 30, 100),
}


def get_config(arg: str = ""):
  _, form = _parse(arg)
  config = default.get_config()
  config.title = "What makes a model leak"
  config.stages = STAGES
  config.split.update(targets=200, shadow=2000)
  config.reconstructors = dict(
    network=dict(default.GRAM_RECONSTRUCTOR, epochs=20)
  )
  config.simulations.simulation = dict(
    default.SIMULATION, targets=4, starts=("network",), steps=15
  )
  config.stationarity.stationarity = dict(default.STATIONARITY, targets=4)
  if form == "paper":
    config.data.update(source="tfds", name="mnist")
    config.split.update(
      accuracy=1000, targets=1000, fixed=10_000, shadow=50_000
    )
    config.training.learning_rate = 0.2
    config.reconstructors.network.epochs = 30
  elif form == "quick":
    config = default.quick(config)
    config.data.source = "mnist_sample"  # whose size the points ask for
    config.simulations.simulation.update(targets=2, steps=3)
    config.stationarity.stationarity.targets = 2
  return config


def sweep(arg: str):
  """The first seed of all points, then the others."""
  name, form = _parse(arg)
  for seed in range(1 if form == "quick" else SEEDS):
    again = {"seed": seed, "split.seed": 42 + seed}
    if name == "interaction":
      yield from _interaction(again, seed)
      continue
    yield again | {"labels": dict(factor="baseline", seed=seed)}
    for factor, (baseline, points) in FACTORS.items():
      if name in ("", factor.replace(" ", "_")):
        for label, changes in points.items():
          labels = dict(factor=factor, point=label, baseline=baseline)
          yield again | changes | {"labels": labels | dict(seed=seed)}


def _interaction(again, seed):
  pass


def _parse(arg: str):
  """(factor or "", form) of the string after the config's name."""
  *names, form = arg.split(",") if "," in arg else ["", arg]
  name = ",".join(names)
  if "," not in arg and arg not in ("quick", "paper"):
    name, form = arg, ""
  known = ("", "interaction", *(f.replace(" ", "_") for f in FACTORS))
  if name not in known or form not in ("", "quick", "paper"):
    raise ValueError(
      f"config argument must be one of {', '.join(known[1:])}, with or "
      f"without ,quick or ,paper; got {arg!r}"
    )
  return name, form
