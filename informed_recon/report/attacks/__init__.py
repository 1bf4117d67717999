"""What only one kind of attack has to show, one file a kind.

A file is named after the kind that `storage.answers` keeps with the answers
and holds `show(run, names) -> Shown` for all attacks of that kind, what the
attack does in words, `WHAT`, and the group of a config whose models are open
to it, `OPEN_TO`. A kind without a file has the figures that all attacks have.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from informed_recon.experiment import Experiment
from informed_recon.storage.answers import Attack


class Run(NamedTuple):
  """A run that was evaluated, as its report sees it."""

  experiment: Experiment
  results: Mapping  # as in results.json
  attacks: Mapping[str, Attack]
  baselines: Mapping[str, np.ndarray]  # their guesses (M, *shape)
  mse: Mapping[str, np.ndarray]  # (M,) of each attack and baseline
  palette: Mapping[str, str]  # attack or baseline -> colour


class Picture(NamedTuple):
  """A figure with what to say about it."""

  heading: str
  caption: str
  figure: Figure


class Shown(NamedTuple):
  """What one kind of attack adds to a page."""

  pictures: Mapping[str, Picture] = {}  # by file name
  story: Sequence[str] = ()  # paragraphs
  warnings: Sequence[str] = ()  # against believing its numbers
