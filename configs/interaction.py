"""How steps, weight decay and width act together on the strongest attack.

Embedded MNIST digits, 500 fixed records, mini-batches of 50, SGD with momentum
and a cosine schedule; initial weights and batch order are secret, so that no
attack but that on stationarity finds records. 8 targets of unknown label, no
shadow model, three seeds; the first seed of all points comes first.

Measured, one seed: docs/findings.md. Longer training and more decay leak
together; either does little alone.

python -m launch.sweep --config=configs/interaction.py --workdir=runs/together
"""

import itertools

from informed_recon.configs import default

CURVE = "interaction"  # file name in informed_recon/report/curves/
SEEDS = 3
WIDTHS, DECAYS = (10, 30, 100), (1e-4, 1e-3, 1e-2)
STEPS = (300, 1000, 3000)


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Steps, weight decay and width together"
  config.stages = ("shadow", "stationarity", "evaluate")
  config.split.update(targets=8, shadow=0)
  config.threat.update(shared_init=False, shared_order=False)
  config.training.update(batch_size=50, schedule="cosine")
  config.stationarity.stationarity = dict(default.STATIONARITY)
  del config.reconstructors.bilinear
  if default.is_quick(arg):
    config = default.quick(config)
    config.split.update(targets=4, fixed=100, shadow=0)
    config.stationarity.stationarity.targets = 2
  return config


def sweep(arg: str):
  quick = default.is_quick(arg)
  grid = (10, 30), (1e-2,), (60, 200)
  for seed in range(1 if quick else SEEDS):
    for width, l2, steps in itertools.product(
      *(grid if quick else (WIDTHS, DECAYS, STEPS))
    ):
      point = f"width={width},l2={l2:g},steps={steps}"
      yield {
        "seed": seed,
        "split.seed": 42 + seed,
        "model.options.width": width,
        "training.l2": l2,
        "training.steps": steps,
        "labels": dict(factor="interaction", point=point, seed=seed),
      }
