"""The self-check of the closed form against the truth."""

import numpy as np

from informed_recon.report.attacks import convex


def test_the_verdict_counts_right_and_trusted():
  residual = np.array([1e-10, 1e-9, 1e-8, 1.0, 2.0])
  error = np.array([1e-20, 1e-18, 1e-3, 0.5, np.nan])
  trusted = np.array([True, True, False, False, False])
  cloud, curve = convex.verdict(residual, error, trusted).axes
  assert "AUC 1.0000 (2 right, 3 wrong)" in curve.get_title()
  labels = [t.get_text() for t in cloud.get_legend().get_texts()]
  assert labels == ["trusted (2)", "declared out of reach (3)"]
  mixed = convex.verdict(residual[::-1], error, trusted).axes[1]
  assert "AUC 0.0000" in mixed.get_title()


def test_the_verdict_where_all_are_right():
  figure = convex.verdict(np.ones(3), np.zeros(3), np.ones(3, bool))
  assert figure.axes[0].get_title() == "all records are right"
