"""What each factor of a sweep does to the attacks, with intervals over seeds.

A table has one row a point, seed and attack (`COLUMNS`). Errors enter as log₁₀
of the median MSE over the targets, below `FLOOR` as `FLOOR`: nobody sees such a
difference. The attack STRONGEST is at each point and seed the one of least
error. The effect of a factor is its largest difference to the baseline, in the
model

  log error = point + seed + noise,

so that seeds, which change split, initialisation and reconstructor, are
compared with themselves. Its 95% interval is Student's, at 1 - 0.05/m for the
m points the largest was chosen among; the p-value is that of F for all points
of the factor, corrected for the number of factors (Holm 1979).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import statsmodels.formula.api as formulas
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from informed_recon.report.curves import Result

KEYS = ["factor", "point", "baseline", "seed", "attack"]
NUMBERS = ["targets", "mse", "tpr", "success", "oracle", "test", "train"]
COLUMNS = [*KEYS, *NUMBERS]
BASELINE = "baseline"  # factor of the point that most factors depart from
STRONGEST = "strongest"
FLOOR = 1e-4
ORACLE = "nearest_neighbour_oracle"
BLIND = "mean_image"  # needs no weights, so that nobody need do worse
RUNNABLE = ("ridge", BLIND)  # baselines that an adversary could run


class Effect(NamedTuple):
  """What one factor does to one attack."""

  factor: str
  point: str  # of the largest difference to the baseline
  baseline: str
  seeds: int
  log_ratio: float  # of its error to the baseline's, log10
  log_ratio_ci95: tuple[float, float] | None  # None: one seed
  tpr: float  # difference at this point
  tpr_ci95: tuple[float, float] | None
  test: float  # difference of the released model's test accuracy
  test_ci95: tuple[float, float] | None
  p: float  # of F, nan where there is one seed
  p_holm: float = math.nan


def frame(results: Sequence[Result]) -> pd.DataFrame:
  """The table of points that are done and have labels."""
  rows = []
  for result in results:
    if "factor" not in result.labels:
      continue
    labels = dict(point="", baseline="") | dict(result.labels)
    found = result.results
    released = found["released_model"]
    guesses = {k: v for k, v in found["baselines"].items() if k in RUNNABLE}
    rates = [r.get("tpr_at_fpr", {}) for r in found["attacks"].values()]
    fpr = next(iter(max(rates, key=len)), "0.01")
    for attack, row in (found["attacks"] | guesses).items():
      # A guess that is the same for all weights tells none of them apart.
      chance = float(fpr) if attack in guesses else float("nan")
      tpr = row.get("tpr_at_fpr", {}).get(fpr, chance)
      rows.append(
        {k: labels[k] for k in KEYS[:-1]}
        | dict(
          attack=attack,
          targets=row["targets"],
          mse=row["mse_median"],
          tpr=tpr,
          success=row["success_rate"],
          oracle=found["baselines"][ORACLE]["mse_median"],
          test=released["test_accuracy_mean"],
          train=released["train_accuracy_mean"],
        )
      )
  table = pd.DataFrame(rows, columns=COLUMNS)
  return table.astype(dict.fromkeys(KEYS[:3], str))


def of_factor(table: pd.DataFrame, factor: str) -> pd.DataFrame:
  """The rows of a factor, its baseline among them under its label."""
  own = table[table.factor == factor]
  baseline = own.baseline.iloc[0]
  if (own.point == baseline).any():
    return own
  common = table[(table.factor == BASELINE) & table.seed.isin(own.seed)]
  return pd.concat([common.assign(factor=factor, point=baseline), own])


def factors(table: pd.DataFrame) -> list[str]:
  """In the order of the table; what departs from no baseline is none."""
  return [*table[table.baseline != ""].factor.unique()]


def of_attack(rows: pd.DataFrame, attack: str) -> pd.DataFrame:
  """One row a point and seed, with `log`, the log10 of the error."""
  if attack == STRONGEST:
    least = rows.groupby(["point", "seed"], sort=False).mse.idxmin()
    rows = rows.loc[least]
  else:
    rows = rows[rows.attack == attack]
  return rows.assign(log=np.log10(np.maximum(rows.mse, FLOOR)))


def effect(
  table: pd.DataFrame, factor: str, attack: str = STRONGEST
) -> Effect | None:
  """None where there are no points beside the baseline's."""
  rows = of_attack(of_factor(table.reset_index(drop=True), factor), attack)
  if not len(rows):
    return None
  baseline = table[table.factor == factor].baseline.iloc[0]
  # Seeds that lack a point would be compared with others than themselves.
  whole = rows.groupby("seed").point.nunique() == rows.point.nunique()
  rows = rows[rows.seed.isin(whole[whole].index)]
  points = [p for p in rows.point.unique() if p != baseline]
  if not points or baseline not in set(rows.point):
    return None
  means = rows.groupby("point").log.mean()
  point = max(points, key=lambda p: abs(means[p] - means[baseline]))
  differences = {
    name: _difference(rows, name, point, baseline, len(points))
    for name in ("log", "tpr", "test")
  }
  return Effect(
    factor,
    point,
    baseline,
    rows.seed.nunique(),
    *(x for pair in differences.values() for x in pair),
    _p_value(rows),
  )


def effects(table: pd.DataFrame, attack: str = STRONGEST) -> list[Effect]:
  """Of all factors, the largest first."""
  found = [effect(table, factor, attack) for factor in factors(table)]
  found = [e for e in found if e is not None]
  tested = [e for e in found if not math.isnan(e.p)]
  if tested:
    corrected = multipletests([e.p for e in tested], method="holm")[1]
    holm = {e.factor: float(p) for e, p in zip(tested, corrected)}
    found = [e._replace(p_holm=holm.get(e.factor, math.nan)) for e in found]
  return sorted(found, key=lambda e: -abs(e.log_ratio))


def _difference(rows, name: str, point: str, baseline: str, among: int):
  """Mean difference over seeds, and its interval from the pooled noise."""
  wide = rows.pivot(index="seed", columns="point", values=name)
  mean = float((wide[point] - wide[baseline]).mean())
  if len(wide) < 2:
    return mean, None
  fit = _fit(rows, name)
  if fit.ssr < 1e-20:  # all seeds agree
    return mean, (mean, mean)
  treated = f"C(point, Treatment({baseline!r}))[T.{point}]"
  low, high = fit.conf_int(0.05 / among).loc[treated]
  return mean, (float(low), float(high))


def _fit(rows, name: str):
  baseline = rows.baseline[rows.baseline != ""].iloc[0]
  formula = f"{name} ~ C(point, Treatment({baseline!r})) + C(seed)"
  return formulas.ols(formula, rows).fit()


def _p_value(rows) -> float:
  if rows.seed.nunique() < 2:
    return math.nan
  if rows.groupby("seed").log.nunique().max() == 1:  # no point differs
    return 1.0
  p = anova_lm(_fit(rows, "log"), typ=2).iloc[0]["PR(>F)"]
  return 0.0 if math.isnan(p) else float(p)


def ratio(e: Effect) -> tuple[float, tuple[float, float] | None]:
  """The error over the baseline's, and its interval."""
  interval = e.log_ratio_ci95
  return 10**e.log_ratio, interval and tuple(10**x for x in interval)


def described(e: Effect) -> Mapping[str, Any]:
  """An effect in words: the columns of the table people read."""
  value, interval = ratio(e)
  shown = "" if interval is None else f" [{', '.join(map(times, interval))}]"
  return {
    "factor": e.factor,
    "from, to": f"{e.baseline} → {e.point}",
    "error ×": f"{times(value)}{shown}",
    "TPR": _points(e.tpr, e.tpr_ci95),
    "test accuracy": _points(e.test, e.test_ci95),
    "p (Holm)": "one seed" if math.isnan(e.p_holm) else f"{e.p_holm:.2g}",
    "finding": sentence(e),
  }


def sentence(e: Effect) -> str:
  """Says no more than the numbers bear."""
  value, interval = ratio(e)
  if interval is None:
    return "one seed: no interval, no claim"
  if not e.p_holm < 0.05 or interval[0] <= 1 <= interval[1]:
    return "no difference shown"
  if value > 1:
    return f"“{e.point}” leaks less than “{e.baseline}”"
  return f"“{e.point}” leaks more than “{e.baseline}”"


def times(value: float) -> str:
  return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _points(value: float, interval) -> str:
  text = f"{100 * value:+.1f}"
  if interval is None:
    return text
  low, high = interval
  return f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]"
