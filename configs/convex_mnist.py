"""Softmax regression on MNIST, its missing record computed in closed form.

1,000 released models, one a target, fitted to their optimum in float64 with
n = 1,000 fixed records and the penalty (l2/2)|weights|^2 beside the summed
loss. `:n10000` takes 10,000 fixed records. Needs the TFDS set `mnist`.

Measured on 1,000 targets, two busy CPU cores: 0.0% [0.0, 0.4] flagged, all
at an MSE of at most 9.1e-8, 10 min; `:n10000` with l2 = 0.01 and
split.seed=44, which no limit was chosen on, 12.1% [10.1, 14.3] flagged (21% of
what was computed there is right), all others at most 1.1e-5, every label
right, 29 min.

python -m launch.run --config=configs/convex_mnist.py --workdir=runs/convex
python -m launch.run --config=configs/convex_mnist.py:n10000 \
  --config.convex.l2=0.01 --config.split.seed=44 --workdir=runs/convex_n10000
"""

from informed_recon.configs import convex


def get_config(arg: str = ""):
  config = convex.get_config("quick" if arg == "quick" else "")
  if arg == "quick":
    return config
  if arg not in ("", "n10000"):
    raise ValueError(f"argument must be empty, n10000 or quick, got {arg!r}")
  config.title = "Softmax regression on MNIST, in closed form"
  config.data.update(source="tfds", name="mnist")
  config.split.update(
    accuracy=1000, targets=1000, fixed=10_000 if arg else 1000
  )
  return config
