"""Splits are disjoint, seeded and stable under more shadow targets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from informed_recon.splits import split
from informed_recon.types import UserError

PART = st.integers(1, 30)
PARTS = ("accuracy", "targets", "fixed", "shadow")


@given(st.tuples(PART, PART, PART, PART), st.integers(0, 9), st.integers(0, 5))
def test_disjoint_and_of_the_sizes_asked_for(sizes, spare, seed):
  n = sum(sizes) + spare
  cut = split(n, **dict(zip(PARTS, sizes)), seed=seed)
  assert tuple(map(len, cut)) == (*sizes, spare)
  for name, size in zip(PARTS, sizes):
    assert len(getattr(cut, name)) == size
  together = np.concatenate(cut)
  assert len(np.unique(together)) == len(together)
  assert together.min() >= 0 and together.max() < n


def _split(n=100, foreign=0, **changes):
  sizes = dict(accuracy=5, targets=6, fixed=7, shadow=8, seed=42)
  return split(n, foreign, **sizes | changes)


def test_the_seed_decides():
  for a, b in zip(_split(), _split()):
    np.testing.assert_array_equal(a, b)
  assert not np.array_equal(_split().fixed, _split(seed=43).fixed)


@given(st.integers(1, 40), st.integers(1, 40))
def test_more_shadow_targets_extend_fewer(a, b):
  few, many = _split(shadow=min(a, b)), _split(shadow=max(a, b))
  np.testing.assert_array_equal(few.shadow, many.shadow[: len(few.shadow)])
  for name in ("accuracy", "targets", "fixed"):
    np.testing.assert_array_equal(getattr(few, name), getattr(many, name))
  left = len(many.unused)
  np.testing.assert_array_equal(few.unused[-left:], many.unused)


def test_records_are_shuffled():
  together = np.concatenate(_split(26))  # all of them
  assert not np.array_equal(together, np.arange(26))


def test_more_than_there_is_is_refused():
  assert len(np.concatenate(_split(26))) == 26
  with pytest.raises(UserError, match="8 shadow = 26 records.* has 25"):
    _split(25)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_too_small_is_refused(part):
  least = 1 if part in ("targets", "fixed") else 0
  with pytest.raises(UserError, match=f"split.{part} must be at least {least}"):
    _split(**{part: least - 1})
  assert len(getattr(_split(**{part: least}), part)) == least


def test_a_negative_seed_is_refused():
  with pytest.raises(UserError, match="split.seed must be at least 0"):
    _split(seed=-1)


def test_foreign_records_are_shadow_targets_and_nothing_else():
  plain, cut = _split(26), _split(26, foreign=10)
  for name in ("accuracy", "targets", "fixed"):  # as without them
    np.testing.assert_array_equal(getattr(cut, name), getattr(plain, name))
  assert len(set(cut.shadow)) == 8
  assert set(cut.shadow) <= set(range(26, 36))
  few = _split(26, foreign=10, shadow=3)
  np.testing.assert_array_equal(few.shadow, cut.shadow[:3])
  assert not np.array_equal(cut.shadow, np.arange(26, 34))  # shuffled
  # The own records need no room for them.
  assert len(_split(18, foreign=8).shadow) == 8
  assert len(_split(20, foreign=8).unused) == 2
  with pytest.raises(UserError, match="data.shadow has 7; make it smaller"):
    _split(26, foreign=7)
  with pytest.raises(UserError, match="7 fixed = 18 records, the data set has"):
    _split(17, foreign=8)
