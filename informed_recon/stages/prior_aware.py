"""Plays the prior-aware attack against DP-SGD and holds it to the bound."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon import prng
from informed_recon.attacks import prior_aware as attack
from informed_recon.dp import (
  accounting,
  audit,
  bounds,
  converse,
  intervals,
  monte_carlo,
  planner,
)
from informed_recon.evaluation import metrics
from informed_recon.experiment import Experiment
from informed_recon.report import prior_aware as report
from informed_recon.storage import files
from informed_recon.training import ensemble, loop
from informed_recon.training.mechanisms import dp_sgd
from informed_recon.types import Records, UserError

REPORT = report  # what shows these results
LEVEL = 0.99  # of all intervals on success rates, and of limits on epsilon


class Trial(NamedTuple):
  """A target drawn, a model trained on it, and what the attack makes of it."""

  truth: Any  # () slot of the target among the candidates
  log_posterior: Any  # (m,) of each candidate under a uniform prior
  gram: Any  # (m, m) of their gradients, in units of the noise
  accuracy: Any  # () of the model on records nobody trained on


def check(experiment: Experiment) -> None:
  settings, split = experiment.config.prior_aware, experiment.split
  if not experiment.dataset.num_classes:
    raise UserError("the prior-aware attack is on classifiers; give labels")
  private = experiment.config.training.privacy
  if private.mechanism != "dp_sgd":
    raise UserError(
      "training.privacy.mechanism must be 'dp_sgd' for the prior-aware attack, "
      f"got {private.mechanism!r}"
    )
  dp_sgd.statement(private.to_dict(), experiment.config.training.steps)
  largest = max(settings.candidates)
  if any(m < 2 or largest % m for m in settings.candidates):
    raise UserError(
      "prior_aware.candidates must be numbers from 2 that divide the largest, "
      f"got {settings.candidates}"
    )
  if largest > len(split.targets):
    raise UserError(
      f"split.targets must be at least {largest}, the largest number of "
      f"candidates, got {len(split.targets)}"
    )
  if not len(split.accuracy):
    raise UserError("split.accuracy must be at least 1 for this experiment")
  for name in ("trials", "among"):
    if settings[name] < 1:
      raise UserError(f"prior_aware.{name} must be at least 1")
  if experiment.config.perf.chunk_trials < 1:
    raise UserError("perf.chunk_trials must be at least 1")
  _noise(experiment)
  attack.make_attack(experiment.model(), experiment.training()[0])


def run(experiment: Experiment) -> None:
  """Leaves `prior_aware/point-*/part-*.npz` and `evaluation/results.json`."""
  directory = experiment.evaluation
  seal = directory / ".done.json"
  if files.folder_intact(seal, directory):
    return
  points = [
    _point(experiment, sigma, trials)
    for sigma, trials in _play(experiment, _noise(experiment))
  ]
  model, private = experiment.model(), experiment.config.training.privacy
  files.write_json(
    directory / "results.json",
    dict(
      attacks={},
      baselines={},
      released_model=dict(
        test_accuracy_mean=None,  # each noise has its own, below
        model=experiment.config.model.name,
        parameters=model.num_params,
        models=sum(point["trials"] for point in points),
      ),
      privacy=dict(
        mechanism=private.mechanism,
        clip_norm=private.clip_norm,
        sampling_probability=private.sampling_probability,
        steps=experiment.config.training.steps,
        delta=private.delta,
        neighbouring_relation="add/remove-one",
        prior_aware=points,
      ),
    ),
  )
  files.seal_folder(seal, directory)


def _noise(experiment: Experiment) -> list[float]:
  """Noise multipliers at which the bound is what the config asks for."""
  settings, training = experiment.config.prior_aware, experiment.config.training
  try:
    return [
      planner.plan(
        success,
        training.privacy.sampling_probability,
        training.steps,
        training.privacy.delta,
        kappa=1 / settings.among,
      ).noise_multiplier
      for success in settings.bound
    ]
  except ValueError as error:
    raise UserError(f"prior_aware.bound: {error}") from None


def _play(
  experiment: Experiment, noise: Sequence[float]
) -> Iterator[tuple[float, Trial]]:
  """Each noise multiplier with its trials, read or played."""
  settings, perf = experiment.config.prior_aware, experiment.config.perf
  folder = experiment.workdir / "prior_aware"
  # A resumed run has the parts, and the bits, of the one that began.
  files.write_new_sealed(folder / "chunk.json", dict(trials=perf.chunk_trials))
  size = files.read_sealed(folder / "chunk.json")["trials"]
  records = [
    Records(*map(jnp.asarray, experiment.records(part)))
    for part in ("fixed", "targets", "accuracy")
  ]
  play, hparams = _make_play(experiment), experiment.training()[1]
  trials = settings.trials
  with tqdm(total=len(noise) * trials, desc="attack", unit="model") as bar:
    for i, sigma in enumerate(noise):
      parts = []
      for start in range(0, trials, size):
        path = folder / f"point-{i}" / f"part-{start:06d}.npz"
        count = min(size, trials - start)
        if not files.arrays_intact(path):
          ids = i * trials + start + np.arange(size) % count
          found = play(
            experiment.key,
            ids.astype(np.int32),
            *records,
            hparams._replace(noise_multiplier=sigma),
          )
          found = Trial(*(np.asarray(a)[:count] for a in found))
          shown = found.accuracy, found.log_posterior
          if not all(np.isfinite(a).all() for a in shown):
            raise UserError(
              "models diverged (logits that are not finite); lower "
              "training.learning_rate"
            )
          files.write_arrays(path, **found._asdict())
          experiment.log(stage="prior_aware", noise=sigma, trials=start + count)
        parts.append(Trial(**files.read_arrays(path)))
        bar.update(count)
      yield sigma, Trial(*map(np.concatenate, zip(*parts)))


def _make_play(experiment: Experiment):
  """Jitted `(root, ids, fixed, pool, unseen, hparams) -> Trial`, B of each."""
  model, (spec, _) = experiment.model(), experiment.training()
  train = loop.make_train(model, spec, transcript=True)
  identify = attack.make_attack(model, spec)
  count = max(experiment.config.prior_aware.candidates)

  def one(root, trial_id, fixed, pool, unseen, hparams):
    def own(name):
      return jax.random.fold_in(prng.stream(root, name), trial_id)

    drawn = jax.random.choice(
      own("candidates"), len(pool.y), (count,), replace=False
    )
    candidates = Records(*(a[drawn] for a in pool))
    truth = jax.random.randint(own("truth"), (), 0, count)
    target = Records(*(a[truth] for a in candidates))
    keys = ensemble.model_keys(root, ensemble.Threat(), trial_id)
    params, transcript = train(keys, fixed, target, hparams)
    evidence = identify(keys, transcript, fixed, candidates, hparams)
    logits = model.apply(params, unseen.x)
    right = jnp.mean(jnp.argmax(logits, 1) == unseen.y)
    # Records that overflow add nothing, so a diverged model shows here alone.
    right = jnp.where(jnp.isfinite(logits).all(), right, jnp.nan)
    return Trial(truth, *evidence, right)

  axes = (None, 0, None, None, None, None)
  return jax.jit(jax.vmap(one, in_axes=axes))


def _point(experiment: Experiment, sigma: float, trials: Trial) -> dict:
  """What was measured at one noise multiplier, beside what theory says."""
  training = experiment.config.training
  setting = sigma, training.privacy.sampling_probability, training.steps
  delta = training.privacy.delta
  sizes = experiment.config.prior_aware.candidates
  mean, interval = metrics.mean_ci95(np.float64(trials.accuracy))
  return dict(
    noise_multiplier=sigma,
    epsilon=accounting.dpsgd_epsilon(*setting, delta),
    membership_advantage_upper=accounting.membership_advantage_upper(*setting),
    trials=len(trials.truth),
    test_accuracy_mean=mean,
    test_accuracy_mean_ci95=list(interval),
    identification={
      str(m): _identification(m, trials, setting, delta, len(sizes))
      for m in sizes
    },
  )


def _identification(
  m: int, trials: Trial, setting: tuple, delta: float, limits: int
):
  """The attack with a prior on m candidates: the block of m the target is in.

  Candidates and the target's slot are drawn uniformly, so each block is a
  uniform prior. A tie counts as a failure. The best of `limits` lower limits
  on epsilon may be chosen afterwards: each has its share of the error
  (Bonferroni), so that all of them hold together with confidence LEVEL.
  """
  joint = 1 - (1 - LEVEL) / limits
  block = (trials.truth // m * m)[:, None] + np.arange(m)
  scores = np.take_along_axis(trials.log_posterior, block, 1)
  own = np.take_along_axis(trials.log_posterior, trials.truth[:, None], 1)
  hits = np.sum(scores >= own, axis=1) == 1
  successes, count = int(hits.sum()), len(hits)
  upper = bounds.dpsgd_upper(1 / m, *setting)
  row = dict(
    kappa=1 / m,
    successes=successes,
    success_rate=successes / count,
    success_rate_ci99=list(intervals.clopper_pearson(successes, count, LEVEL)),
    success_upper=upper,
    refutes_the_bound=converse.refuted(successes, count, upper, LEVEL),
    epsilon_lower_99=converse.epsilon_lower(
      successes, count, 1 / m, delta, joint
    ),
  )
  proved = audit.dpsgd_epsilon_lower(
    successes, count, 1 / m, *setting[1:], delta, joint
  )
  # inf, which JSON has not: more success than the draws allow at any noise.
  row["epsilon_lower_dpsgd_99"] = proved if np.isfinite(proved) else None
  if setting[1] == 1:  # sums over steps tell all only where all take part
    gram = np.stack([g[np.ix_(ids, ids)] for g, ids in zip(trials.gram, block)])
    best = monte_carlo.identification_estimate(gram)
    row["bayes_optimal_estimate"] = float(best.mean())
    row["bayes_optimal_estimate_ci99"] = list(
      metrics.bootstrap(lambda i: best[i].mean(), count, level=LEVEL)
    )
  return row
