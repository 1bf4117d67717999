"""What an attack's own verdict is worth, and what it declined to give."""

import numpy as np

from informed_recon.evaluation import scoring
from informed_recon.types import Answers

TRUTH = np.zeros((4, 2))
LABELS = np.array([0, 1, 2, 3])
SAID = Answers(
  x=np.full((4, 2), 0.5),
  y=np.array([0, 1, 2, 9]),
  identifiable=np.array([True, False, False, False]),
  unguarded=np.array([[9.0, 9], [0.01, 0], [np.nan, 0], [0.01, 0]]),
)


def test_what_flagged_answers_would_have_been():
  """Of the flagged ones alone: one is right, one no number, one's label is
  wrong."""
  row = scoring.unguarded(SAID, TRUTH, LABELS, 1e-3)["unguarded"]
  assert row["records"] == 3 and row["right_rate"] == 1 / 3
  assert row["mse_median"] == 0.01**2 / 2
  low, high = row["right_rate_ci95"]
  assert 0 < low < 1 / 3 < high < 1


def test_nothing_was_flagged():
  said = SAID._replace(identifiable=np.ones(4, bool))
  assert scoring.unguarded(said, TRUTH, LABELS, 1e-3) == {}
