"""The figures of the simulation attack: what they compute."""

import numpy as np

from informed_recon.report.attacks import simulation


def _search(residual, mse, spent):
  answer = residual[-1], mse[-1]
  return simulation.Search(*map(np.array, (residual, mse, spent)), answer)


SEARCHES = dict(
  found=[
    _search([0.5, 0.6, 1e-3], [0.1, 0.2, 1e-6], [10, 20, 30]),
    _search([0.4, 0.02], [0.1, 1e-5], [12, 24]),
  ]
)


def test_the_share_right_given_the_residual():
  _, curve = simulation.self_check(SEARCHES, eta=1e-3).axes
  shares = [bars.lines[0].get_data() for bars in curve.containers]
  found = {round(float(np.log10(x[0])), 2): y[0] for x, y in shares}
  # 0.4, 0.5 and 0.6 are wrong, 1e-3 and 0.02 are right.
  assert found == {-3.25: 1, -1.75: 1, -0.25: 0}


def test_the_cost_is_of_what_would_be_answered():
  palette = dict(mlp="#000000", found="#ff0000")
  figure = simulation.cost(
    SEARCHES, dict(found=0), 1000, dict(mlp=0.02), palette
  )
  dot, line = figure.axes[0].lines
  assert dot.get_xydata().tolist() == [[1000, 0.02]]
  x, y = line.get_data()
  np.testing.assert_array_equal(x, [10, 12, 20, 24, 30])
  # Of the first search, the second step is no answer: its residual is larger.
  np.testing.assert_allclose(y[[0, 2]], [0.1, 0.1])
  np.testing.assert_allclose(y[-1], (1e-6 + 1e-5) / 2)
  # Shadow models behind the starting points are paid for.
  figure = simulation.cost(SEARCHES, dict(found=1000), 1000, {}, palette)
  x = figure.axes[0].lines[0].get_xdata()
  np.testing.assert_array_equal(x, [1010, 1012, 1020, 1024, 1030])
