"""What a figure's numbers say, where it computes some."""

import numpy as np

from informed_recon.report import figures


def test_kappa_and_the_bound_are_drawn_against_eta():
  rows = [dict(eta=e, kappa=e / 2, success_upper=e) for e in (0.1, 0.2, 0.4)]
  (axis,) = figures.kappa(rows, "pixel").axes
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
