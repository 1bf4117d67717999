"""Answers come back as they were written, fields left out included."""

import numpy as np
import pytest

from informed_recon.storage import answers
from informed_recon.types import Answers


@pytest.mark.parametrize(
  "said",
  [
    Answers(np.zeros((3, 4), np.float32)),
    Answers(
      np.ones((2, 2, 2, 1)),
      y=np.array([1, 0]),
      identifiable=np.array([True, False]),
      residual=np.array([0.0, 2.0]),
      error=np.array([0.1, 0.2]),
      cost=np.array([5, 6]),
    ),
  ],
)
def test_round_trip(tmp_path, said):
  attack = answers.Attack("convex", said, "products")
  answers.write(tmp_path, "mine", attack)
  found = answers.read_all(tmp_path)
  assert found.keys() == {"mine"}
  assert found["mine"].kind == "convex"
  assert found["mine"].cost_unit == "products"
  for field, value in said._asdict().items():
    again = getattr(found["mine"].answers, field)
    if value is None:
      assert again is None
    else:
      np.testing.assert_array_equal(again, value)
      assert again.dtype == value.dtype
