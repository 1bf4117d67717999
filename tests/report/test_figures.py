"""What a figure's numbers say, where it computes some."""

import numpy as np

from informed_recon.report import figures


def test_the_verdict_counts_right_and_trusted():
  residual = np.array([1e-10, 1e-9, 1e-8, 1.0, 2.0])
  error = np.array([1e-20, 1e-18, 1e-3, 0.5, np.nan])
  trusted = np.array([True, True, False, False, False])
  cloud, curve = figures.verdict(residual, error, trusted).axes
  assert "AUC 1.0000 (2 right, 3 wrong)" in curve.get_title()
  labels = [t.get_text() for t in cloud.get_legend().get_texts()]
  assert labels == ["trusted (2)", "declared out of reach (3)"]
  mixed = figures.verdict(residual[::-1], error, trusted).axes[1]
  assert "AUC 0.0000" in mixed.get_title()


def test_the_verdict_where_all_are_right():
  figure = figures.verdict(np.ones(3), np.zeros(3), np.ones(3, bool))
  assert figure.axes[1].texts[0].get_text() == "all records are right"


def test_kappa_and_the_bound_are_drawn_against_eta():
  rows = [dict(eta=e, kappa=e / 2, success_upper=e) for e in (0.1, 0.2, 0.4)]
  (axis,) = figures.kappa(rows).axes
  upper, blind = (line.get_ydata() for line in axis.lines)
  np.testing.assert_array_equal(upper, [0.1, 0.2, 0.4])
  np.testing.assert_array_equal(blind, [0.05, 0.1, 0.2])


def test_a_grid_draws_colours_as_they_are():
  rng = np.random.default_rng(0)
  truth, guess = rng.uniform(-0.1, 1.1, (2, 9, 4, 4, 3))
  figure = figures.grid(dict(target=truth, conv=guess), np.arange(9))
  drawn = [axis.images[0].get_array() for axis in figure.axes]
  assert len(drawn) == 2 * 3 * 3  # best, median and worst three of each row
  for image, source in zip(drawn[:6], [*truth[:3], *guess[:3]]):
    np.testing.assert_allclose(image, source.clip(0, 1))
  # One channel is grey, not a colour image without its other channels.
  grey = figures.grid(dict(target=truth[..., :1]), np.arange(9)).axes[0]
  assert grey.images[0].get_array().shape == (4, 4)
