"""Closed-form attacks on convex models: the knobs, with their defaults.

python -m launch.run --config=configs/convex.py --workdir=runs/convex_digits
"""

from ml_collections import ConfigDict

from informed_recon.configs import default


def get_config(arg: str = "") -> ConfigDict:
  """Softmax regression on scikit-learn's digits."""
  base = default.get_config()
  config = ConfigDict(
    dict(
      title="Softmax regression on 8x8 digits, in closed form",
      seed=0,
      stages=("convex", "evaluate", "report"),
      data=dict(source="digits", name="", path=""),
      split=dict(accuracy=300, targets=500, fixed=500, shadow=0, seed=42),
      convex=dict(
        family="softmax",  # a name of attacks.convex.glm.FAMILIES
        l2=0.01,  # of (l2/2)|weights|^2, beside the sum of the losses
        penalise_intercept=False,
        noise=0.0,  # standard deviation, added to every released coefficient
        delta=1e-5,  # at which its epsilon is reported
      ),
      evaluation=base.evaluation,
      perf=dict(data_dir="", convex_chunk=50),  # models fitted at once
    )
  )
  if default.is_quick(arg):
    config.title += " (quick form: shows that it runs, claims nothing)"
    config.split.update(accuracy=100, targets=20, fixed=150)
    config.evaluation.classifier.epochs = 2
  return config
