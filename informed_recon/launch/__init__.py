"""The faces of the command line, for a checkout: they lie in `launch/`.

An installed package has that folder itself in this place (setup.py).
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).parents[2] / "launch")]
