"""What a report says first, and what it warns of."""

import re

import pytest

from informed_recon.dp import intervals
from informed_recon.report import table, verdict, words
from informed_recon.report.attacks import reconstructor

IMAGES = words.nouns((8, 8, 1))


def _row(hits, targets=40, mse=0.02, identified=0.125):
  ends = intervals.clopper_pearson
  return dict(
    targets=targets,
    mse_mean=mse,
    mse_median=mse,
    success_rate=hits / targets,
    success_rate_ci95=list(ends(hits, targets)),
    identification={"8": identified},
    identification_ci95={"8": list(ends(round(identified * targets), targets))},
  )


def _results(attacks, ridge=None, blind=None, accuracy=0.9):
  baselines = dict(
    nearest_neighbour_oracle=dict(targets=40, mse_mean=0.03, mse_median=0.03),
    mean_image=blind or _row(0, mse=0.07),
  )
  if ridge:
    baselines["ridge"] = ridge
  return dict(
    attacks=attacks,
    baselines=baselines,
    released_model=dict(test_accuracy_mean=accuracy),
    privacy=dict(epsilon=None),
  )


def _warned(results, **more):
  return " ".join(verdict.warnings(results, IMAGES, **more))


def test_the_verdict_is_that_of_the_strongest_even_if_it_is_a_baseline():
  results = _results(dict(bilinear=_row(1, mse=0.06)), ridge=_row(36, mse=0.01))
  said = verdict.sentence(results, IMAGES)
  assert said.startswith("Records leak. From the weights ridge regression, the")
  assert "36 of 40 missing images (90.0%, 95% interval 76.3% to 97.2%)" in said
  warned = _warned(results)
  assert "“bilinear” lost to ridge regression, which recovered 90.0%" in warned
  alone = verdict.sentence(_results(dict(bilinear=_row(1))), IMAGES)
  assert alone.startswith(
    "No attack of this run shows a leak; that is no proof"
  )


def test_few_targets_do_not_outrank_many():
  rows = dict(mlp=_row(200, 250), refined=_row(4, 4))
  results = _results(rows, blind=_row(0, 250, mse=0.07))
  assert verdict.strongest(results) == "mlp"
  said = verdict.sentence(results, IMAGES)
  assert "“refined”, which answered for fewer, recovered 4 of 4" in said


def test_something_leaks_without_a_record_being_recovered():
  results = _results(dict(mlp=_row(0, identified=0.6)))
  said = verdict.sentence(results, IMAGES)
  assert said.startswith("The weights give something away, though images")
  assert "among 8 candidates in 60.0% of cases (by chance 12.5%)" in said


@pytest.mark.parametrize(
  "results, more, expected",
  [
    (_results(dict(a=_row(0, mse=0.08))), {}, "no nearer to the truth than"),
    (_results(dict(a=_row(0))), {}, "Only 40 targets. Had none .* up to 9%"),
    (_results(dict(a=_row(20))), {}, "known roughly: .* from 34% to 66%"),
    (
      _results(dict(a=_row(0)), accuracy=0.15),
      dict(num_classes=10),
      "right for 15.0% of unseen records, by chance it would be 10.0%",
    ),
    (
      _results(dict(a=_row(2, 4), b=_row(9))),
      {},
      "“a” answered for 4 of the 40 targets",
    ),
    (_results(dict(a=_row(0))), dict(capped=["a"]), "exact .* 120 dB"),
  ],
)
def test_warnings(results, more, expected):
  assert re.search(expected, _warned(results, **more))


def test_no_warning_without_a_reason():
  rows = dict(mlp=_row(390, 400, mse=0.01, identified=0.9))
  results = _results(rows, blind=_row(1, 400, mse=0.07))
  assert _warned(results, num_classes=10) == ""


@pytest.mark.parametrize("falling", [True, False])
def test_a_network_that_was_still_improving(falling):
  rows = [
    dict(epoch=i, train_loss=1.0, held_loss=0.9**i if falling else 0.5)
    for i in range(1, 6)
  ]
  said = list(reconstructor.still_improving("bilinear", rows))
  assert bool(said) == falling
  if falling:
    assert "still improving when its training ended after 5 epochs" in said[0]


def test_any_false_positive_rate_has_its_column():
  row = _row(4) | dict(
    tpr_at_fpr={"0.05": 0.5, "0.001": 0.25},
    tpr_at_fpr_ci95={"0.05": [0.4, 0.6], "0.001": [0.2, 0.3]},
  )
  row |= {f"{m}_mean": 0.5 for m in ("mse", "mae")}
  row |= {f"{m}_mean_ci95": [0.4, 0.6] for m in ("mse", "mae")}
  row |= dict(psnr_mean=120.0, psnr_mean_ci95=[120.0, 120.0])
  results = dict(attacks=dict(mlp=row), baselines={})
  assert table.header(results)[-2:] == ("TPR@0.05FPR", "TPR@0.001FPR")
  assert next(table.rows(results))[-2:] == (
    "50.0% [40.0%, 60.0%]",
    "25.0% [20.0%, 30.0%]",
  )
  # A table has no PSNR; where there is one, its cap is said.
  assert "PSNR dB" not in table.header(results)
  row |= dict(ssim_mean=1.0, ssim_mean_ci95=[1.0, 1.0])
  at = table.header(results).index("PSNR dB")
  assert next(table.rows(results))[at] == "at least 120"


def test_words_follow_the_data():
  assert words.nouns((30,)).records == "rows"
  assert words.nouns((28, 28, 1)).feature == "pixel"
  assert words.nouns((6, 5, 2)).record == "record"
