"""Whether the attack on scikit-learn estimators vouches for wrong records.

python -m bench.convex_fuzz [--quick] [--records 40] [--seed 0] [--keep FILE]

Estimators of every family and solver, at default and tight tolerances, with
coefficients as they are and rounded, with and without sample weights, on
scikit-learn's tables (standardised, raw, and with a large offset) and on
generated ones. Every record drawn is attacked with all others known. A record
is wrong where its features are off by more than 3% of their columns' standard
deviation (root mean square) or its label is. One JSON object a line: the shares
of records found, `wrong` (and vouched for), and `calibrated`: trusted answers
within twice the error that they state. `ours` is the share found, `peer` the
share vouched for.
"""

import argparse
import warnings

import numpy as np
from scipy import sparse
from sklearn import datasets, linear_model, svm
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

import bench
from informed_recon.attacks import sklearn as attack
from informed_recon.types import UserError

WRONG = 0.03  # of a column's standard deviation, root mean square
LR = linear_model.LogisticRegression


def tables(rng):
  """Name -> records, classes (or None) and positive real responses."""
  for name in ("iris", "wine", "breast_cancer", "diabetes"):
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    classes = y if name != "diabetes" else (y > 140).astype(int)
    z = StandardScaler().fit_transform(x)
    mean = np.exp(0.3 * z[:, 0] + 0.2 * z[:, 1])
    real = mean * rng.gamma(3.0, 1 / 3, len(x)) + 0.01
    yield name, z, classes, real
    yield f"{name}, raw", x, classes, real
    yield f"{name} + 100", z + 100, classes, real
  for n, d in ((40, 3), (200, 30), (25, 40)):
    x = rng.normal(size=(n, d)) * np.logspace(-2, 1, d)
    h = x @ rng.normal(size=d) / np.linalg.norm(x.std(0))
    classes = (h > np.median(h)).astype(int) + (h > np.quantile(h, 0.8))
    yield (
      f"generated {n} x {d}",
      x,
      classes,
      np.exp(0.3 * h) + rng.gamma(2, 0.1),
    )


def classifiers():
  for solver in ("lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"):
    for tol in (1e-4, 1e-10):
      yield (
        f"LogisticRegression {solver} {tol:g}",
        LR(solver=solver, tol=tol, max_iter=3000, random_state=0),
      )
  yield (
    "LogisticRegression balanced",
    LR(solver="newton-cholesky", class_weight="balanced", tol=1e-10),
  )
  yield (
    "LogisticRegression l1",
    LR(solver="saga", l1_ratio=1.0, tol=1e-8, max_iter=3000, random_state=0),
  )
  yield "RidgeClassifier", linear_model.RidgeClassifier()
  yield "RidgeClassifier sparse", linear_model.RidgeClassifier(alpha=100.0)
  yield "LinearSVC", svm.LinearSVC(random_state=0)
  yield (
    "LinearSVC tight",
    svm.LinearSVC(tol=1e-10, max_iter=20000, random_state=0),
  )
  yield (
    "SGDClassifier",
    linear_model.SGDClassifier(loss="log_loss", random_state=0),
  )


def regressors():
  for solver in ("auto", "svd", "lsqr", "sparse_cg", "sag", "saga"):
    yield f"Ridge {solver}", linear_model.Ridge(solver=solver, random_state=0)
  yield "LinearRegression", linear_model.LinearRegression()
  for tol in (1e-4, 1e-10):
    many = dict(tol=tol, max_iter=5000)
    yield f"Lasso {tol:g}", linear_model.Lasso(0.01, **many)
    yield f"ElasticNet {tol:g}", linear_model.ElasticNet(0.01, **many)
    for solver in ("lbfgs", "newton-cholesky"):
      yield (
        f"PoissonRegressor {solver} {tol:g}",
        linear_model.PoissonRegressor(solver=solver, **many),
      )
      yield (
        f"GammaRegressor {solver} {tol:g}",
        linear_model.GammaRegressor(solver=solver, **many),
      )


def cases(rng):
  """(name, fitted estimator, x, y, keywords of the attack of all but i)."""
  for table, x, classes, real in tables(rng):
    for kind, y in ((classifiers, classes), (regressors, real)):
      for name, estimator in kind():
        rows = sparse.csr_matrix(x) if "sparse" in name else x
        yield f"{name} | {table}", estimator, rows, x, y, None
        if name in ("Ridge auto", "PoissonRegressor newton-cholesky 1e-10"):
          weight = rng.uniform(0.5, 2.0, len(x))
          yield f"{name}, weighted | {table}", estimator, x, x, y, weight
        if "cholesky" in name or "auto" in name or "LinearReg" in name:
          for decimals in (3, 6):
            yield (
              f"{name}, {decimals} decimals | {table}",
              *(estimator, x, x, y, decimals),
            )


def attacked(estimator, rows, x, y, change, picks):
  """(found, trusted, wrong, within) of each record picked."""
  fit = {}
  if isinstance(change, np.ndarray):
    fit["sample_weight"] = change
  estimator.fit(rows, y, **fit)
  if isinstance(change, int):
    estimator.coef_ = np.round(estimator.coef_, change)
    estimator.intercept_ = np.round(estimator.intercept_, change)
  spread = x.std(0)
  spread[spread == 0] = 1.0
  for i in picks:
    given = {}
    if fit:
      given["sample_weight"] = np.delete(change, i)
      given["target_weight"] = change[i]
    try:
      answer = attack.reconstruct(
        estimator, np.delete(x, i, 0), np.delete(y, i), **given
      )
    except UserError:
      yield False, False, False, None
      continue
    off = np.sqrt(np.nanmean(((answer.x - x[i]) / spread) ** 2))
    label = answer.y == y[i] if y.dtype.kind == "i" else True
    right = bool(off <= WRONG and label)
    trusted = bool(answer.identifiable)
    within = None
    if trusted and getattr(answer, "error", None) is not None:
      stated = np.sqrt(np.nanmean((answer.error / spread) ** 2))
      within = bool(off <= 2 * stated + 1e-9)
    yield right, trusted, trusted and not right, within


def rows(records, seed, quick):
  rng = np.random.default_rng(seed)
  every = list(cases(rng))
  if quick:
    every = [every[i] for i in rng.permutation(len(every))[:8]]
  total = np.zeros(5, int)
  for name, *case in tqdm(every, desc="cases"):
    picks = rng.permutation(len(case[2]))[:records]
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      try:
        found = list(attacked(*case, picks))
      except (ValueError, UserError) as error:
        yield dict(case=name, refused=str(error).splitlines()[0])
        continue
    right, trusted, wrong, within = zip(*found)
    within = [w for w in within if w is not None]
    total += [len(found), *map(sum, (right, trusted, wrong)), sum(within)]
    yield dict(
      case=name,
      records=len(found),
      ours=float(np.mean(right)),
      peer=float(np.mean(trusted)),
      ratio=None,
      unit="share of records: found, vouched for",
      wrong=int(sum(wrong)),
      calibrated=float(np.mean(within)) if within else None,
    )
  count, right, trusted, wrong, within = map(int, total)
  yield dict(
    case="all",
    records=count,
    ours=right / count,
    peer=trusted / count,
    ratio=None,
    unit="share of records: found, vouched for",
    wrong=wrong,
    calibrated=within / max(trusted, 1),
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--quick", action="store_true")
  parser.add_argument("--records", type=int, default=40)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--keep", default="", help="file for the rows")
  args = parser.parse_args()
  records = 4 if args.quick else args.records
  bench.printed(rows(records, args.seed, args.quick), args.keep)


if __name__ == "__main__":
  main()
