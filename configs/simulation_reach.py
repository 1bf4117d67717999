"""How far the simulation attack reaches: what may vary, and where it ends.

Embedded MNIST digits, 200 fixed records, 784-10-10 ELU, 100 full-batch steps of
plain SGD, 12 targets, no shadow model; every point changes one thing. `:linear`
has a softmax regression stopped early in place of the network, `:convnet` a
convolutional one; `:adam` varies what Adam adds under the root of its squared
gradients, without which training has no derivative where a pixel is dark in all
records. Success at eta: an MSE of 1e-3.

Measured: docs/simulation.md says for each point how many of 12 were found.
Figure: docs/simulation_reach.png.

python -m launch.sweep --config=configs/simulation_reach.py --workdir=runs/reach
"""

from informed_recon.configs import default

CURVE = "reach"  # file name in informed_recon/report/curves/
PRIVATE = {"training.privacy.mechanism": "dp_sgd"}
NOISE = "training.privacy.noise_multiplier"
PRIOR = "simulations.simulation.prior_weight"
MODELS = {
  "linear": dict(name="linear", options=dict(use_bias=True)),
  "convnet": dict(
    name="convnet", options=dict(widths=(8, 16), kernel=3, pooling="stride",
                                 activation="elu")
  ),
}  # fmt: skip


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Reach of the simulation attack"
  config.stages = ("shadow", "simulation", "evaluate", "report")
  config.split.update(accuracy=250, targets=12, fixed=200, shadow=0)
  config.training.optimizer_options = dict()
  config.training.learning_rate = 0.2
  config.evaluation.eta = 1e-3
  config.simulations.simulation = dict(default.SIMULATION, steps=40)
  del config.reconstructors.bilinear
  config.perf.simulation_batch = 12
  if arg in MODELS:
    config.model = MODELS[arg]
    config.perf.simulation_batch = 2 if arg == "convnet" else 12
  elif arg == "adam":
    config.training.optimizer = "adam"
    config.training.optimizer_options = dict(eps_root=1e-6)
    config.training.learning_rate = 0.003
  elif default.is_quick(arg):
    config = default.quick(config)
    config.split.shadow = 0
    config.simulations.simulation.update(targets=3, steps=5)
  return config


def sweep(arg: str):
  if arg == "adam":
    for root in (1e-6, 1e-7, 1e-8):
      yield {"training.optimizer_options.eps_root": root}
    return
  yield {"training.steps": 100}
  if arg == "linear":
    yield {"training.steps": 1000}
    return
  yield {"model.options.activation": "relu"}
  if arg == "convnet" or default.is_quick(arg):
    return
  yield {"model.options.activation": "tanh"}
  yield {"model.options.width": 100}
  yield {"model.options.depth": 2}
  yield {"training.steps": 1000}
  yield {"split.fixed": 100}
  yield {"split.fixed": 1000}
  yield {"training.batch_size": 50}
  yield {"training.batch_size": 50, "threat.shared_order": False}
  yield {"threat.shared_init": False}
  yield {
    "threat.shared_init": False,
    "simulations.simulation.search_keys": True,
  }
  # Clipped gradients, and noise of growing size with the prior it calls for:
  # its variance in a parameter is about steps (rate · noise · clip / n)².
  yield PRIVATE | {NOISE: 0.0}
  for noise in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
    yield PRIVATE | {NOISE: noise, PRIOR: 100 * (0.2 * noise / 201) ** 2}
