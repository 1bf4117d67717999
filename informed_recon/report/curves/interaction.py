"""The strongest attack's error over steps and weight decay, a map a width.

Points carry the label "width=…,l2=…,steps=…". Beside the maps stands the linear
model of log₁₀ error on the logarithms of the three, each scaled to [-1, 1], and
their products: what they do by themselves and what only together.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import statsmodels.formula.api as formulas
from matplotlib.figure import Figure

from informed_recon.report.curves import Result
from informed_recon.report.factors import effects
from informed_recon.types import UserError

AXES = ("width", "l2", "steps")
STUDY = "interaction"  # label `factor` of its points


def draw(results: Sequence[Result]) -> tuple[Figure, list[str]]:
  """The figure, and what it shows in sentences."""
  found = cells(effects.frame(results))
  if not len(found):
    raise UserError(f"the curve wants points with the label factor={STUDY}")
  return maps(found), [says(found)]


def cells(table: pd.DataFrame) -> pd.DataFrame:
  """One row a point and seed of the study: width, l2, steps, `log`, `test`."""
  rows = table[table.factor == STUDY].reset_index(drop=True)
  if not len(rows):
    return rows
  rows = effects.of_attack(rows, effects.STRONGEST)
  for name in AXES:
    value = rows.point.str.extract(rf"{name}=([^,]+)")[0]
    rows = rows.assign(**{name: value.astype(float)})
  return rows


def maps(found: pd.DataFrame) -> Figure:
  """Geometric means over seeds, with the models' accuracy on new records."""
  widths = sorted(found.width.unique())
  figure = Figure(figsize=(3.6 * len(widths) + 0.8, 3.4), layout="constrained")
  axes = figure.subplots(1, len(widths), squeeze=False)[0]
  for axis, width in zip(axes, widths):
    part = found[found.width == width]
    log, test = (
      part.pivot_table(v, index="l2", columns="steps") for v in ("log", "test")
    )
    image = axis.imshow(
      log,
      "magma",
      **dict(vmin=np.log10(effects.FLOOR), vmax=-1, origin="lower"),
    )
    for (i, j), value in np.ndenumerate(log.to_numpy()):
      if np.isfinite(value):
        axis.text(
          j,
          i,
          f"{10**value:.2g}\n{100 * test.iloc[i, j]:.0f}%",
          **dict(ha="center", va="center", fontsize=8),
          color="black" if value > -2 else "white",
        )
    axis.set_xticks(range(log.shape[1]), [f"{s:g}" for s in log.columns])
    axis.set_yticks(range(log.shape[0]), [f"{x:g}" for x in log.index])
    axis.set(xlabel="steps", title=f"width {width:g}")
    axis.grid(False)
  axes[0].set_ylabel("weight decay")
  figure.colorbar(image, ax=axes, label="log₁₀ median MSE")
  return figure


def model(found: pd.DataFrame) -> pd.DataFrame:
  """Coefficient, low and high of each term; the interval is 95%."""
  scaled = found.assign(
    **{
      name: np.interp(
        np.log(found[name]), np.log([found[name].min(), found[name].max()]),
        (-1, 1),
      )
      for name in AXES
    }
  )  # fmt: skip
  seeds = " + C(seed)" if found.seed.nunique() > 1 else ""
  fit = formulas.ols(f"log ~ (width + l2 + steps) ** 2{seeds}", scaled).fit()
  terms = [t for t in fit.params.index if t[0] in "wls"]
  limits = fit.conf_int().loc[terms]
  return pd.DataFrame(
    dict(coefficient=fit.params[terms], low=limits[0], high=limits[1])
  )


def says(found: pd.DataFrame) -> str:
  """What acts by itself, and what only together."""
  counts = found.groupby(list(AXES)).seed.nunique()
  low, high = counts.min(), counts.max()
  seeds = f"{low}" if low == high else f"{low} to {high}"
  text = f"{len(counts)} settings, seeds of each: {seeds}. "
  if min(found[name].nunique() for name in AXES) < 2 or len(found) < 12:
    return text + "Too few for a model of them."
  shown = [
    f"{term.replace(':', ' × ')} {row.coefficient:+.2f} "
    f"[{row.low:+.2f}, {row.high:+.2f}]"
    for term, row in model(found).iterrows()
    if row.low > 0 or row.high < 0
  ]
  return text + (
    "Change of log₁₀ error from the middle of each range to its end, where "
    "the 95% interval over settings excludes none: "
    f"{'; '.join(shown) or 'none'}."
  )
