"""Is the bound on reconstruction kept, and met? The prior-aware attack.

In the manner of Hayes, Mahloujifar and Balle (2023), but with momentum 0.9:
DP-SGD at full batch, clip norm 0.1, 100 steps of rate 9 on 1,000 known MNIST
digits and one of a list of candidates. 500 models at each noise, at which the
bound on any attack among 8 candidates is 0.3, 0.5, 0.8 and 0.98. The digits
come with pip.

Measured: in none of 12 settings is success above the bound; 85 min on two busy
CPU cores. Figure: docs/dp_prior_aware.png.

python -m launch.run --config=configs/dp_prior_aware.py --workdir=runs/prior
"""

from ml_collections import ConfigDict

from informed_recon.configs import default


def get_config(arg: str = "") -> ConfigDict:
  base = default.get_config()
  config = ConfigDict(
    dict(
      title="The prior-aware attack on DP-SGD, MNIST",
      seed=0,
      stages=("prior_aware", "report"),
      data=base.data,
      split=dict(  # candidates are drawn from the evaluation targets
        accuracy=1000, targets=3000, fixed=1000, shadow=0, seed=42
      ),
      model=base.model,
      training=base.training,
      prior_aware=dict(
        candidates=(2, 8, 64),  # sizes of the prior; each divides the largest
        bound=(0.3, 0.5, 0.8, 0.98),  # noise is such that the bound is this
        among=8,  # for so many candidates
        trials=500,  # models trained at each noise
      ),
      perf=dict(data_dir="", chunk_trials=20),  # trained and kept at once
    )
  )
  config.training.learning_rate = 9.0
  config.training.privacy.update(mechanism="dp_sgd", clip_norm=0.1)
  if default.is_quick(arg):
    config.title += " (quick form: shows that it runs, claims nothing)"
    config.data.source = "digits"
    config.split.update(accuracy=200, targets=300, fixed=100)
    config.training.steps = 20
    config.prior_aware.update(candidates=(2, 8), bound=(0.3, 0.8), trials=60)
  return config
