"""Scikit-learn's 8x8 digits: the whole way in about a minute.

python -m launch.run --config=configs/digits.py --workdir=runs/digits
"""

from informed_recon.configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  config.title = "Digits, 8x8 pixels"
  config.data.source = "digits"
  config.split.update(accuracy=197, targets=100, fixed=200, shadow=1300)
  return default.quick(config) if default.is_quick(arg) else config
