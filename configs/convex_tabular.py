"""A published regression on a small table gives away the record left out.

The argument names family and table: `logistic-breast_cancer` (the default),
`linear-diabetes`, `poisson-diabetes`, `softmax-wine`, `softmax-iris`.

Measured: no target flagged, largest relative error of any feature 3.0e-9 (142
targets), 1.8e-12 (110), 9.6e-12 (110) and 3.1e-13 (44) in the first four; 1
min on two CPU cores.

python -m launch.run --config=configs/convex_tabular.py --workdir=runs/tabular
"""

from informed_recon.configs import convex

TABLES = {
  "breast_cancer": 569,
  "diabetes": 442,
  "wine": 178,
  "iris": 150,
}


def get_config(arg: str = ""):
  config = convex.get_config("quick" if arg == "quick" else "")
  if arg == "quick":
    return config
  family, _, table = (arg or "logistic-breast_cancer").partition("-")
  if table not in TABLES:
    raise ValueError(f"argument must look like linear-diabetes, got {arg!r}")
  config.title = f"{family.capitalize()} regression on {table}"
  config.data.update(source="tabular", name=table)
  config.convex.update(family=family, l2=1.0)
  quarter = TABLES[table] // 4
  config.split.update(
    accuracy=quarter, targets=quarter, fixed=TABLES[table] - 2 * quarter
  )
  return config
