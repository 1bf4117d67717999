"""Identification against its definition, and the blind guess at exactly 1/m."""

import numpy as np
import pytest

from informed_recon.evaluation.identification import identified

SIZES = (2, 8, 64)


@pytest.fixture
def records():
  rng = np.random.default_rng(0)
  return rng.uniform(size=(600, 3, 2, 1)).astype(np.float32)


def test_the_truth_is_always_found(records):
  for m, hits in identified(records, records, SIZES, 0).items():
    assert hits.shape == (600,) and hits.all(), m


@pytest.mark.parametrize("guess", ["mean", "one of them"])
def test_a_blind_guess_is_right_one_time_in_m(records, guess):
  """Over the draw of decoys exactly, whatever the targets are."""
  one = records.mean(0) if guess == "mean" else records[0]
  blind = np.repeat(one[None], len(records), 0)
  runs = [identified(records, blind, SIZES, seed) for seed in range(20)]
  for m in SIZES:
    rates = np.array([run[m].mean() for run in runs])
    error = rates.std(ddof=1) / np.sqrt(len(rates))
    assert rates.mean() == pytest.approx(1 / m, abs=4 * error + 1e-3)


def test_candidates_are_the_target_and_other_targets(records):
  """Success by hand: the guess lies between its target and a known decoy."""
  count = 5
  x = np.arange(count, dtype=float)[:, None]
  nearly_all = identified(x, x + 0.4, (count,), 0)[count]
  assert nearly_all.all()  # 0.4 from its own, 0.6 from the next
  hits = identified(x, x + 0.6, (count,), 0)[count]
  assert hits.tolist() == [False] * (count - 1) + [True]  # no next one there
  half = identified(x, x + 0.6, (2,), 0)[2]
  assert half.sum() > 1  # the next one is not always among the candidates


def test_larger_sets_hold_the_smaller_ones_and_are_harder(records):
  rng = np.random.default_rng(2)
  guess = records + rng.normal(scale=0.3, size=records.shape)
  hits = identified(records, guess, SIZES, 0)
  assert not np.any(hits[8] & ~hits[2]) and not np.any(hits[64] & ~hits[8])
  rates = [hits[m].mean() for m in SIZES]
  assert np.all(np.diff(rates) < 0) and rates[-1] > 5 / 64
  np.testing.assert_array_equal(
    identified(records, guess, (8,), 0)[8],
    identified(records, guess, (8, 2), 0)[8],
  )


def test_duplicates_count_as_misses(records):
  twins = np.concatenate([records[:10], records[:10]])
  assert not identified(twins, twins, (20,), 0)[20].any()
  lone = np.concatenate([records[:10], records[1:10]])
  assert identified(lone, lone, (19,), 0)[19].tolist() == [True] + [False] * 18


def test_sets_that_need_more_targets_are_left_out(records):
  assert identified(records[:7], records[:7], SIZES, 0).keys() == {2}
  assert identified(records[:1], records[:1], SIZES, 0) == {}


def test_the_draw_depends_on_the_seed_alone(records):
  rng = np.random.default_rng(3)
  guess = records + rng.normal(scale=0.5, size=records.shape)
  first, again, other = (
    identified(records, guess, (8,), s)[8] for s in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)


def test_no_answer_is_a_miss(records):
  guess = records.copy()
  guess[3] = np.nan
  hits = identified(records, guess, (8,), 0)[8]
  assert not hits[3] and hits.sum() == len(hits) - 1
