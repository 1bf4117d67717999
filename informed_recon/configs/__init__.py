"""The experiments, for a checkout: its files lie in `configs/` at the top.

An installed package has that folder itself in this place (setup.py).
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).parents[2] / "configs")]
