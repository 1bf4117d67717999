"""Closed-form attack: against its packaged peer, in bulk, and how it grows.

    python -m bench.convex [--quick]

One JSON object a line. Times are medians of repeated warm calls in seconds,
except the peer's, which is one call. The peer is ART's DatabaseReconstruction
(adversarial-robustness-toolbox, `bench` extra); without it the line says so.
"""

import argparse
import json
import time

import jax
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from informed_recon.attacks import sklearn
from informed_recon.attacks.convex import closed_form, glm


def seconds(call, repeats=7):
  """Median time of a call, after one that compiles."""
  call()
  times = []
  for _ in range(repeats):
    start = time.perf_counter()
    call()
    times.append(time.perf_counter() - start)
  return float(np.median(times))


def say(case, ours, peer, unit, **more):
  ratio = None if not (ours and peer) else peer / ours
  line = dict(case=case, ours=ours, peer=peer, ratio=ratio, unit=unit, **more)
  print(json.dumps(line), flush=True)


def against_art(solver, targets):
  """The same estimator and target for both, as fitted to the optimum."""
  x, y = load_iris(return_X_y=True)
  estimator = LogisticRegression(
    solver=solver, tol=1e-12, max_iter=100_000
  ).fit(x, y)
  for target in targets:
    known = np.delete(x, target, 0), np.delete(y, target)
    result = sklearn.reconstruct(estimator, *known)
    ours = seconds(lambda known=known: sklearn.reconstruct(estimator, *known))
    more = {
      "ours_mse": float(np.mean((result.x - x[target]) ** 2)),
      "ours_label_right": bool(result.y == y[target]),
    }
    try:
      from art.attacks.inference.reconstruction import DatabaseReconstruction
      from art.estimators.classification import SklearnClassifier
    except ImportError:
      more["note"] = "peer not installed: pip install -e .[bench]"
      say(f"iris, {solver}, target {target}", ours, None, "s/target", **more)
      continue
    start = time.perf_counter()
    peer_x, peer_y = DatabaseReconstruction(
      SklearnClassifier(estimator)
    ).reconstruct(*known)
    peer = time.perf_counter() - start
    more["peer_mse"] = float(np.mean((np.ravel(peer_x) - x[target]) ** 2))
    more["peer_label_right"] = bool(np.argmax(peer_y) == y[target])
    say(f"iris, {solver}, target {target}", ours, peer, "s/target", **more)


def problem(n, d, K, rng):
  """Weights need not be fitted to be timed."""
  return (
    rng.normal(size=(K, d)) / np.sqrt(d),
    rng.normal(size=K),
    rng.normal(size=(n, d)),
    np.arange(n) % K,
  )


def growth(sizes, batch):
  """One attack, and one of a batch, against one gradient over the data."""
  rng = np.random.default_rng(0)
  gradient = jax.jit(glm.gradient, static_argnums=0)
  for n, d, K in sizes:
    weights, intercept, x, y = problem(n, d, K, rng)
    with jax.enable_x64(True):
      data = [jax.device_put(a) for a in (x, np.eye(K)[y], np.ones(n))]
      floor = seconds(
        lambda data=data, w=weights, b=intercept: jax.block_until_ready(
          gradient(glm.SOFTMAX, w, b, *data)
        )
      )
    known = dict(known_x=x, known_y=y, l2=1.0)
    one = seconds(
      lambda w=weights, b=intercept, known=known: closed_form.reconstruct(
        "softmax", w, b, **known
      )
    )
    many_weights = weights + 0.01 * rng.normal(size=(batch, K, d))
    many_intercepts = np.broadcast_to(intercept, (batch, K))
    many = seconds(
      lambda w=many_weights, b=many_intercepts, known=known: (
        closed_form.reconstruct_many("softmax", w, b, **known)
      ),
      repeats=3,
    )
    # The peer here is the floor: one gradient over the known data.
    say(
      f"softmax n={n} d={d} K={K}, one",
      one,
      floor,
      "s/target against s/gradient",
    )
    say(
      f"softmax n={n} d={d} K={K}, batch of {batch}",
      many / batch,
      floor,
      "s/target against s/gradient",
      targets_per_second=batch / many,
    )


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--quick", action="store_true", help="under 5 minutes")
  quick = parser.parse_args().quick
  growth(
    [(1000, 64, 10), (2000, 64, 10), (1000, 128, 10), (1000, 64, 20)]
    if quick
    else [
      (n, d, K)
      for n in (1000, 10_000)
      for d in (64, 784)
      for K in (2, 10, 100)
      if n * d * K <= 10_000 * 784 * 10
    ],
    batch=64 if quick else 256,
  )
  for solver in ("newton-cholesky", "lbfgs"):
    against_art(solver, [60] if quick else [0, 60, 120])


if __name__ == "__main__":
  main()
