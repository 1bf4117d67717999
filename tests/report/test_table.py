"""The table of a run."""

from informed_recon.report import table


def _row(targets):
  means = {f"{m}_mean": 0.5 for m in ("mse", "mae", "psnr", "ssim", "kl")}
  return means | {f"{k}_ci95": [0.4, 0.6] for k in means} | {"targets": targets}


def test_who_answered_for_fewer_targets_is_told_apart():
  results = dict(
    attacks=dict(mlp=_row(250), refined=_row(4)),
    baselines=dict(mean_image=_row(250)),
  )
  names = [row[0] for row in table.rows(results)]
  assert names == ["mlp", "refined (4 targets)", "mean image"]
