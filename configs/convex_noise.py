"""Regression coefficients released with noise: error against its scale.

Softmax regression on scikit-learn's digits, 500 fixed records, the penalty on
all coefficients. For every noise scale the closed form, the regression that
knows the noise, and the Fisher-information floor on unbiased attacks; beside
them what differential privacy promises (Gaussian output perturbation).

Measured: from noise of 1e-10 to 1e-4 the median error is within 4% of the
floor; 20 min on two busy CPU cores. Figure: docs/convex_noise.png.

python -m launch.sweep --config=configs/convex_noise.py --workdir=runs/noise
"""

from informed_recon.configs import convex, default

CURVE = "noise"  # file name in informed_recon/report/curves/
SCALES = (1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1.0)


def get_config(arg: str = ""):
  config = convex.get_config(arg)
  config.title = "Coefficients released with noise"
  config.convex.update(l2=1.0, penalise_intercept=True)
  if not default.is_quick(arg):
    config.split.targets = 64
  return config


def sweep(arg: str):
  for scale in (1e-6, 1.0) if default.is_quick(arg) else SCALES:
    yield {"convex.noise": scale}
