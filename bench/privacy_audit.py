"""Lower limits on epsilon beside jax_privacy's, where the truth is known.

python -m bench.privacy_audit [--quick] [--keep=FILE]

Scores of members are N(mu, 1), of others N(0, 1): what the best attack on a
mu-GDP mechanism sees. Each limit gets the same scores, at 95%, with delta 1e-5
where it takes one. One row a mu and a limit: the median over the repetitions,
its ratio to the true epsilon, and the share of repetitions in which the limit
is above it, with a 95% interval (Clopper and Pearson). A valid limit is above
in at most 5%. The `one run` limits see all canaries of one training; the others
one score a training.
"""

import numpy as np
from absl import app, flags
from jax_privacy import auditing

from bench import printed
from informed_recon.dp import audit, intervals, one_run

_QUICK = flags.DEFINE_bool("quick", False, "5 repetitions")
_KEEP = flags.DEFINE_string("keep", "", "file to write the rows to as well")
DELTA, LEVEL, CANARIES = 1e-5, 0.95, 1000


def surest(members, others, count: int):
  """How many of the `count` highest scores are members'."""
  scores = np.concatenate([members, others])
  return int(np.sum(np.argsort(-scores)[:count] < len(members)))


def ours():
  """Name -> limit(members, others)."""

  def one(limit, share):
    guesses = int(CANARIES * share)
    return lambda a, b: limit(
      CANARIES, guesses, surest(a, b, guesses), DELTA, LEVEL
    )

  return {
    "threshold_epsilon_lower": lambda a, b: audit.threshold_epsilon_lower(
      a, b, DELTA, LEVEL
    ),
    "gdp_rank_epsilon_lower": lambda a, b: audit.gdp_rank_epsilon_lower(
      a, b, DELTA, LEVEL
    ),
    "one_run.epsilon_lower, 10% guessed": one(one_run.epsilon_lower, 0.1),
    "one_run.gdp_epsilon_lower, 10% guessed": one(
      one_run.gdp_epsilon_lower, 0.1
    ),
  }


def peers():
  """The same of jax_privacy, with its own defaults."""

  def of(method, *args):
    return lambda a, b: getattr(auditing.CanaryScoreAuditor(a, b), method)(
      *args
    )

  return {
    "jax_privacy epsilon_clopper_pearson": of(
      "epsilon_clopper_pearson", 1 - LEVEL, DELTA
    ),
    "jax_privacy epsilon_from_gdp": of("epsilon_from_gdp", 1 - LEVEL, DELTA),
    "jax_privacy epsilon_raw_counts": of("epsilon_raw_counts"),
    "jax_privacy epsilon_one_run": of("epsilon_one_run", 1 - LEVEL, DELTA),
    "jax_privacy epsilon_one_run_fdp": of(
      "epsilon_one_run_fdp", 1 - LEVEL, DELTA
    ),
  }


def rows(repetitions: int):
  for mu in (0.0, 1.0, 3.0):
    truth = audit.gaussian_epsilon(mu, DELTA)
    for name, limit in (ours() | peers()).items():
      rng = np.random.default_rng(0)
      found = [
        float(
          limit(
            rng.normal(mu, 1, CANARIES // 2), rng.normal(size=CANARIES // 2)
          )
        )
        for _ in range(repetitions)
      ]
      above = sum(value > truth + 1e-6 for value in found)
      yield dict(
        mu=mu,
        epsilon=round(truth, 3),
        limit=name,
        repetitions=repetitions,
        median=round(float(np.median(found)), 3),
        of_truth=round(float(np.median(found)) / truth, 3) if truth else None,
        above=round(above / repetitions, 4),
        interval=[
          round(float(v), 4)
          for v in intervals.clopper_pearson(above, repetitions)
        ],
      )


def main(_):
  printed(rows(5 if _QUICK.value else 200), _KEEP.value)


if __name__ == "__main__":
  app.run(main)
