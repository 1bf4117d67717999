"""The table of a run."""

from informed_recon.report import table


def _row(targets, *more):
  names = ("mse", "mae", "psnr", "ssim", "kl", *more)
  means = {f"{m}_mean": 0.5 for m in names}
  return means | {f"{k}_ci95": [0.4, 0.6] for k in means} | {"targets": targets}


def test_who_answered_for_fewer_targets_is_told_apart():
  results = dict(
    attacks=dict(mlp=_row(250), refined=_row(4)),
    baselines=dict(mean_image=_row(250)),
  )
  names = [row[0] for row in table.rows(results)]
  assert names == ["mlp", "refined (4 targets)", "mean of the known records"]


def test_a_metric_that_was_not_asked_for_has_no_column():
  for more in ((), ("perceptual",)):
    row = _row(9, *more)
    results = dict(attacks=dict(mlp=row), baselines=dict(mean_image=row))
    header = table.header(results)
    assert ("perceptual" in header) == bool(more)
    assert {len(r) for r in table.rows(results)} == {len(header)}
  at = header.index("perceptual")
  assert next(table.rows(results))[at] == "0.500 [0.400, 0.600]"
