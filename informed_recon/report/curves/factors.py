"""What each factor of training does to the attacks."""

from matplotlib.figure import Figure


def draw(results):
  return Figure(), []
