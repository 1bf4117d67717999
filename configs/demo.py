"""`make demo`: 4,000 shadow models on 5,000 real MNIST digits, minutes on CPU.

python -m launch.run --config=configs/demo.py --workdir=runs/demo
"""

from configs import default


def get_config(arg: str = ""):
  config = default.get_config()
  return default.quick(config) if default.is_quick(arg) else config
