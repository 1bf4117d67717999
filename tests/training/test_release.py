"""What is published of trained parameters."""

import numpy as np
import pytest

from informed_recon import tree
from informed_recon.training import release
from informed_recon.training.release import Release, publish
from informed_recon.types import UserError

LAYOUT = (
  tree.Leaf("Dense_0/bias", (2,), 0),
  tree.Leaf("Dense_0/kernel", (4,), 2),
)
ROWS = np.array(
  [[0.1, -2.0, 1.0, -0.3, 0.26, 0.0], [3.0, 0.5, -0.2, 0.0, 0.0, 7.0]],
  np.float32,
)


def test_nothing_is_asked_for():
  np.testing.assert_array_equal(publish(ROWS, LAYOUT, Release()), ROWS)


def test_layers_by_name():
  shown = publish(ROWS, LAYOUT, Release(layers="kernel$"))
  np.testing.assert_array_equal(shown[:, :2], 0)
  np.testing.assert_array_equal(shown[:, 2:], ROWS[:, 2:])
  assert release.visible(LAYOUT, "bias").tolist() == [True] * 2 + [False] * 4


def test_the_smallest_of_each_array_are_pruned():
  shown = publish(ROWS, LAYOUT, Release(pruned=0.5))
  expected = [[0, -2.0, 1.0, -0.3, 0, 0], [3.0, 0, -0.2, 0, 0, 7.0]]
  np.testing.assert_array_equal(shown, np.float32(expected))


def test_rounding():
  half = publish(ROWS, LAYOUT, Release(format="bfloat16"))
  assert 0 < np.abs(half - ROWS).max() <= np.abs(ROWS).max() * 2**-8
  # Seven levels to each side: of the first kernel with a spacing of 1/7.
  four = publish(ROWS, LAYOUT, Release(format="int4"))
  np.testing.assert_allclose(four[0, 2:], np.array([7, -2, 2, 0]) / 7, 1e-6)
  np.testing.assert_allclose(four[0, :2], [0, -2.0])
  zero = np.zeros((1, 6), np.float32)
  np.testing.assert_array_equal(publish(zero, LAYOUT, Release(0, "int8")), zero)


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(pruned=1.0), r"pruned must lie in \[0, 1\), got 1.0"),
    (dict(format="int3"), "unknown release.format 'int3'; known: float32"),
    (dict(layers="Conv"), "'Conv' has no match; known: Dense_0/bias"),
    (dict(layers="("), "no regular expression"),
  ],
)
def test_what_makes_no_sense_is_refused(options, message):
  with pytest.raises(UserError, match=message):
    publish(ROWS, LAYOUT, Release(**options))
