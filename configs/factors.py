"""What makes a model leak: one factor of the pipeline changed at a time.

The embedded MNIST sample: 500 fixed records, 784-10-10 ELU, 100 full-batch
steps of SGD with momentum, 2,000 shadow models, 200 targets. Every point
changes one thing, and every attack that applies answers: a reconstructor
network and ridge regression on all targets, simulated training on 4 of them,
the stationarity of the weights where there is weight decay. Three seeds of
split, initialisation and reconstructor; all factors' first seed comes first.

`:initial_weights` runs one factor; `:paper` and `:initial_weights,paper` have
the paper's sizes; `:quick` is the smoke test. Needs the TFDS sets `mnist` and
`fashion_mnist` for the factor `shadow_targets` and at the paper's sizes.

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


# Of architectures. The training of those without a dense first layer is dear: a
# quarter of the shadow models and no simulation, of their baseline either.
_FEW = {**_shadows(500), **NO_SIMULATION}
_IMAGE = {**_FEW, "reconstructors.network.network": "conv"}
_BATCHES = {
  f"{size}, {word}": {
    "training.batch_size": size,
    "threat.shared_order": word == "known",
  }
  for size in (50, 10)
  for word in ("known", "secret")
}


def _own(mechanism, **options):
  """Training by another mechanism, with options of its own."""
  given = {f"{SETTINGS}.options.{k}": v for k, v in options.items()}
  return {f"{SETTINGS}.mechanism": mechanism} | given


def _fine_tuned(steps):
  """So many further steps on all records but the target."""
  more = _own("weighted", forgotten=steps)
  return {str(steps): more | {"training.steps": 100 + steps}}


# The recipe is known but for the rate, within a fifth: simulation seeks it too.
_RATE_SOUGHT = {
  "simulations.simulation.search_rate": 0.2,
  "simulations.simulation.starts": ("class_means",),  # the network is misled
  "simulations.simulation.steps": 40,
}

_MNIST = {"data.source": "tfds", "data.name": "mnist"}

# name -> (label of the baseline, label of each other point -> its overrides).
# A baseline that is among the points is the factor's own.
FACTORS = {
  "fixed records": ("500", _each("split.fixed", (100, 250, 1000, 2000))),
  "shadow models": ("2000", {"250": _shadows(250), "1000": _shadows(1000)}),
  "width": ("10", _each("model.options.width", (5, 30, 100))),
  "layers published": (
    "all",
    {
      "first": {"release.layers": "Dense_0"},
      "last": {"release.layers": "Dense_1"},
      "kernels": {"release.layers": "kernel"},
      "biases": {"release.layers": "bias"},
    },
  ),
  "rounding": (
    "float32",
    {
      name: {"release.format": name}
      for name in ("float16", "bfloat16", "int8", "int4")
    },
  ),
  "recipe": (
    "known",
    {
      "rate +10%": {"truth.rate": 1.1},
      "rate -10%": {"truth.rate": 0.9},
      "rate +10%, sought": {"truth.rate": 1.1} | _RATE_SOUGHT,
      "rate -10%, sought": {"truth.rate": 0.9} | _RATE_SOUGHT,
      "one epoch more": {"truth.more_steps": 1},
      "other seed": {"truth.other_seed": True},
    },
  ),
  "records replaced": ("0", _each("truth.replaced", (1, 10, 100))),
  "initial weights": (
    "known",
    {
      "one of 10, tried": {
        "threat.shared_init": False,
        "threat.initialisations": 10,
        "simulations.simulation.search_keys": True,
        # The network, which tries none of them, has nowhere to start from.
        "simulations.simulation.starts": ("class_means",),
        "simulations.simulation.steps": 40,
      },
      "secret": {"threat.shared_init": False},
    },
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
  "activation": (
    "elu",
    {n: {"model.options.activation": n} for n in ("relu", "tanh", "softplus")},
  ),
  "weight decay": (
    "0",
    _each("training.l2", (1e-4, 1e-3, 1e-2, 1e-1), **STATIONARY),
  ),
  "batch": ("all", _BATCHES),
  "steps": ("100", _each("training.steps", (10, 30, 300, 1000))),
  "copies of the target": (
    "1",
    {f"{n}": _own("weighted", copies=n) for n in (2, 5)},
  ),
  "pruning": ("0", _each("release.pruned", (0.5, 0.9))),
  "records missing": ("0", _each("truth.missing", (1, 10, 100))),
  "fine-tuning": ("0", _fine_tuned(1) | _fine_tuned(10) | _fine_tuned(100)),
  "average (EMA)": ("none", _each("training.ema", (0.9, 0.97))),
  "label smoothing": (
    "0",
    {f"{s}": _own("smoothed", smoothing=s) for s in (0.1, 0.3)},
  ),
  "augmentation": ("none", {"shifts": _own("augmented", shift=2)}),
  "privacy": (
    "none",
    {
      "clipped": PRIVATE | {f"{SETTINGS}.noise_multiplier": 0.0},
      "ε = 1000": PRIVATE | {f"{SETTINGS}.epsilon": 1000.0},
      "ε = 100": PRIVATE | {f"{SETTINGS}.epsilon": 100.0},
    },
  ),
  "depth": ("1", _each("model.options.depth", (2, 3))),
  "shadow targets": (
    "MNIST",
    {
      "MNIST": _MNIST,
      "digits 0 to 4": _MNIST | {"data.shadow_classes": 5},
      "Fashion-MNIST": _MNIST | {"data.shadow": "fashion_mnist"},
    },
  ),
  "architecture": (
    "mlp",
    {
      "mlp": _FEW,
      "linear": _FEW | {"model.name": "linear"},
      "transformer": _IMAGE | {"model.name": "patches"},
      "convnet": {
        **_IMAGE,
        "model.name": "convnet",
        "model.options.widths": (8, 16),
        "model.options.pooling": "stride",
      },
      "resnet": {
        **_IMAGE,
        "model.name": "resnet",
        "model.options.widths": (4, 8),
        "model.options.groups": 2,
        "model.options.stem": 2,  # a quarter of the time
      },
    },
  ),
}
FORMS = ("", "quick", "paper")


def get_config(arg: str = ""):
  _, form = _parse(arg)
  config = default.get_config()
  config.title = "What makes a model leak"
  config.stages = STAGES
  config.data.shadow = ""
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
    config.split.fixed = 120  # none of the points'
    config.simulations.simulation.update(targets=2, steps=3)
    config.stationarity.stationarity.targets = 2
  return config


def sweep(arg: str):
  """The first seed of all points, then the others."""
  name, form = _parse(arg)
  for seed in range(1 if form == "quick" else SEEDS):
    again = {"seed": seed, "split.seed": 42 + seed}
    yield again | {"labels": dict(factor="baseline", seed=seed)}
    for factor, (baseline, points) in FACTORS.items():
      if name in ("", _argument(factor)):
        for label, changes in points.items():
          labels = dict(factor=factor, point=label, baseline=baseline)
          yield again | changes | {"labels": labels | dict(seed=seed)}


def _argument(factor: str) -> str:
  return factor.replace(" ", "_")


def _parse(arg: str) -> tuple[str, str]:
  """(factor or "", form) of the string after the config's name."""
  name, _, form = arg.partition(",")
  if name in FORMS:
    name, form = "", name
  known = [_argument(factor) for factor in FACTORS]
  if form not in FORMS or name not in ("", *known):
    raise ValueError(
      "config argument must be 'quick', 'paper' or a factor, with ',quick' or "
      f"',paper' where wanted ({', '.join(known)}), got {arg!r}"
    )
  return name, form
