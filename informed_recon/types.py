"""The small immutable values that travel between the rooms of the project.

Letters used in names and docstrings throughout: N shadow models, n records,
d input features, K classes, P parameters, T steps, B batch.
"""

from typing import Any, NamedTuple

import numpy as np


class UserError(ValueError):
  """Something the user gave is wrong; the message says what and how to mend it.

  The launchers turn it into one line on stderr and exit code 2.
  """


class Records(NamedTuple):
  """Labelled records."""

  x: Any  # (n, *shape) float32, images in [0, 1]
  y: Any  # (n,) int32 class in [0, K), or a real response


class Reconstruction(NamedTuple):
  """What an attack says about the missing record.

  `identifiable` is a promise: no record vouched for is wrong. `residual` needs
  no knowledge of the truth: it measures how badly the recovered record fails
  to explain the released weights.
  """

  x: np.ndarray  # (d,) float64 features; NaN where nothing can be said
  y: Any  # recovered label (class label or real response)
  identifiable: bool  # False: do not trust x; `message` says why
  residual: float  # relative, dimensionless; 0 is a perfect explanation
  candidates: tuple = ()  # all roots ((x, y), ...) where there are several
  message: str = ""
  error: Any = None  # (d,) estimated standard error of each feature of x
  checked: bool = True  # False: nothing was left over to check x against


class Answers(NamedTuple):
  """What an attack says about the first M evaluation targets of a run.

  Fields an attack has nothing to say about are None.
  """

  x: np.ndarray  # (M, *shape) float32 reconstructions
  y: np.ndarray | None = None  # (M,) recovered labels or responses
  identifiable: np.ndarray | None = None  # (M,) bool: vouched for
  residual: np.ndarray | None = None  # (M,) self-check, 0 is perfect
  error: np.ndarray | None = None  # (M,) estimated rms error a feature
  cost: np.ndarray | None = None  # (M,) work spent, in units the attack names
  # (M, *shape) what was computed, also where x is a guess in its place
  unguarded: np.ndarray | None = None
