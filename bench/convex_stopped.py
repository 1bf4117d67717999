"""Records from scikit-learn classifiers at their default tolerance.

    python -m bench.convex_stopped [--quick] [--targets 12] [--only PATTERN]

For every solver of LogisticRegression (liblinear one against the rest on
digits) and SGDClassifier, as they come, on scikit-learn's digits (pixels in
[0, 1]) and standardised breast-cancer data: the target is one random record,
the known records are all others, and three attacks answer: the closed form,
`attacks.sklearn.residual`, and, on the data with two classes, where it is cheap
enough, `attacks.sklearn.refit`. One JSON object a line: "ours" is the share of
targets with the right label and MSE at most 1e-3 by the best of the new
attacks, "peer" that of the closed form, all with 95% Clopper-Pearson intervals.
"""

import argparse
import json
import time
import warnings

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from informed_recon.attacks import sklearn as closed_form
from informed_recon.attacks.sklearn import refit, residual
from informed_recon.dp import intervals

SUCCESS = 1e-3
SOLVERS = ("lbfgs", "newton-cg", "newton-cholesky", "liblinear", "sag", "saga")


def estimators(classes):
  """Name -> estimator at its defaults, but for a fixed random_state, without
  which a refit is not the same fit."""
  for solver in SOLVERS:
    model = LogisticRegression(solver=solver, random_state=0)
    if solver == "liblinear" and classes > 2:
      model = OneVsRestClassifier(model)
    yield solver, model
  yield "SGDClassifier", SGDClassifier(loss="log_loss", random_state=0)


def tables():
  x, y = load_digits(return_X_y=True)
  yield "digits", x / 16, y
  x, y = load_breast_cancer(return_X_y=True)
  yield "breast cancer", StandardScaler().fit_transform(x), y


def rate(hits):
  hits = np.asarray(hits)
  count = int(hits.sum()), len(hits)
  interval = intervals.clopper_pearson(*count, confidence=0.95)
  return dict(rate=float(hits.mean()), ci95=list(interval))


def score(results, truths, labels):
  mse = np.array(
    [np.mean((r.x - z) ** 2) for r, z in zip(results, truths, strict=True)]
  )
  right = np.array([r.y == v for r, v in zip(results, labels, strict=True)])
  trusted = np.array([r.identifiable for r in results])
  good = right & (mse <= SUCCESS)
  return dict(
    success=rate(good),
    label_right=rate(right),
    mse_median=float(np.median(mse)),
    trusted=int(trusted.sum()),
    trusted_wrong=int((trusted & ~good).sum()),
    trusted_mse_max=float(mse[trusted].max()) if trusted.any() else None,
  )


def measure(table, x, y, name, model, targets, shadows):
  attacks = {"closed form": closed_form.reconstruct}
  attacks["residual"] = lambda *a: residual.reconstruct(*a, shadows=shadows)
  if len(np.unique(y)) == 2 and name != "SGDClassifier":
    attacks["refit"] = lambda *a: refit.reconstruct(*a, shadows=shadows)
  results = {attack: [] for attack in attacks}
  seconds = dict.fromkeys(attacks, 0.0)
  for target in tqdm(targets, desc=f"{table} {name}", unit="target"):
    known = np.delete(x, target, 0), np.delete(y, target)
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")  # stopping early is the point
      model.fit(
        np.vstack([known[0], x[target]]), np.append(known[1], y[target])
      )
    for attack, reconstruct in attacks.items():
      start = time.process_time()
      results[attack].append(reconstruct(model, *known))
      seconds[attack] += time.process_time() - start
  rows = {k: score(v, x[targets], y[targets]) for k, v in results.items()}
  best = max(rows[k]["success"]["rate"] for k in attacks if k != "closed form")
  before = rows["closed form"]["success"]["rate"]
  line = dict(
    case=f"{table}, {name}",
    ours=best,
    peer=before,
    ratio=best / before if before else None,
    unit=f"share of targets with MSE <= {SUCCESS:g} and the right label",
    targets=len(targets),
    shadows=shadows,
    attacks=rows,
    cpu_seconds_a_target={k: v / len(targets) for k, v in seconds.items()},
  )
  print(json.dumps(line), flush=True)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--quick", action="store_true", help="minutes, not hours")
  parser.add_argument("--targets", type=int, default=12)
  parser.add_argument("--only", default="", help='such as "digits sag"')
  arguments = parser.parse_args()
  for table, x, y in tables():
    count = 2 if arguments.quick else arguments.targets
    targets = np.random.default_rng(11).permutation(len(x))[:count]
    for name, model in estimators(len(np.unique(y))):
      if arguments.only not in f"{table} {name}":
        continue
      if arguments.quick and name not in ("lbfgs", "newton-cholesky"):
        continue
      # A Newton step on 650 parameters costs a second.
      slow = table == "digits" and name == "newton-cholesky"
      measure(table, x, y, name, model, targets, 150 if slow else 400)


if __name__ == "__main__":
  main()
