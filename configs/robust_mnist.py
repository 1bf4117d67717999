"""Does adversarial training make records easier to reconstruct?

The embedded MNIST sample, 500 fixed records, 784-10-10 released models; in
every step the records with the largest cross-entropy, a quarter of all, are
attacked by FGSM before the model learns from them (mechanism `robust`;
after the abstract of Mendonça et al. 2023, no reproduction is claimed). 2,000
shadow models are trained just so, a reconstructor learns from them, and from
its answers four targets are sought by simulated training. The sweep compares
none, the selected and all, each with three seeds of split, initialisation and
reconstructor.

Measured: MSE 0.0098 without, 0.0081 with a quarter, 0.0025 with all records
attacked, three seeds (docs/robust.md); an hour on two busy CPU cores.

python -m launch.sweep --config=configs/robust_mnist.py --workdir=runs/robust
"""

from ml_collections import ConfigDict

from informed_recon.configs import default

CURVE = ""  # results.csv is the table
FRACTIONS = (0.0, 0.25, 1.0)  # plain, selected, full adversarial training
SEEDS = 3


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Adversarial training with selected records, MNIST sample"
  config.stages = ("shadow", "reconstructor", "simulation", "evaluate")
  config.split.shadow = 2000
  config.simulations.simulation = dict(
    default.SIMULATION, targets=4, starts=("bilinear",), steps=15
  )
  config.training.privacy.mechanism = "robust"
  config.training.privacy.options = ConfigDict(
    dict(
      fraction=0.25,  # of the records in a step, that are attacked
      mix=1.0,  # weight of an attacked record's loss; the rest is its own
      steps=1,  # of the attack; 1: FGSM
      radius=0.1,  # largest change of a pixel
    )
  )
  return default.quick(config) if default.is_quick(arg) else config


def sweep(arg: str):
  """From plain to full adversarial training."""
  del arg
  for seed in range(SEEDS):
    for fraction in FRACTIONS:
      yield {
        "training.privacy.options.fraction": fraction,
        "seed": seed,
        "split.seed": 42 + seed,
      }
