"""Searches for the record behind each released model by simulating training."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from informed_recon import compiler
from informed_recon.attacks import simulation as attack
from informed_recon.experiment import Experiment
from informed_recon.storage import answers, files
from informed_recon.training import ensemble, release
from informed_recon.types import Answers, Records, UserError

# Settings of an entry that are not the search's own.
_OF_THE_STAGE = {
  "starts",
  "targets",
  "sample",
  "prior_weight",
  "search_keys",
  "search_rate",
}
CLASS_MEANS = "class_means"  # starts: the mean known record of every class


def check(experiment: Experiment) -> None:
  config = experiment.config
  if not config.simulations:
    raise UserError("stages include 'simulation', config.simulations is empty")
  known = (CLASS_MEANS, *config.reconstructors)
  for name, spec in config.simulations.items():
    attack.check(_search(experiment, name))
    _gradient(experiment, spec.sample)
    if name in config.reconstructors:
      raise UserError(f"simulations and reconstructors both have a {name!r}")
    for start in spec.starts:
      if start not in known:
        raise UserError(
          f"simulations.{name}.starts: unknown {start!r}; "
          f"known: {', '.join(known)}"
        )
    if (
      set(spec.starts) - {CLASS_MEANS}
      and "reconstructor"
      not in (config.stages[: config.stages.index("simulation")])
    ):
      raise UserError(
        f"simulations.{name} starts from a reconstructor; put the stage "
        "'reconstructor' before 'simulation'"
      )
    if not spec.starts or spec.targets < 0 or spec.prior_weight < 0:
      raise UserError(
        f"simulations.{name} needs starts, and targets and prior_weight of at "
        "least 0"
      )
    if spec.search_rate and spec.prior_weight:
      raise UserError(
        f"simulations.{name}: search_rate and prior_weight do not go together"
      )
    if not 0 <= spec.search_rate < 1:
      raise UserError(
        f"simulations.{name}.search_rate must lie in [0, 1), "
        f"got {spec.search_rate}"
      )
  if config.perf.simulation_batch < 1:
    raise UserError(
      "perf.simulation_batch must be at least 1, "
      f"got {config.perf.simulation_batch}"
    )


def run(experiment: Experiment) -> None:
  """Leaves `attacks/NAME.npz` with the answer for the first targets of every
  entry of `simulations`, and `simulation/NAME/` with the way to each."""
  for name in experiment.config.simulations:
    if not answers.intact(experiment.workdir, name):
      found = _attack(experiment, name)
      said = answers.Attack("simulation", found, "training_passes")
      answers.write(experiment.workdir, name, said)


def _attack(experiment: Experiment, name: str) -> Answers:
  spec = experiment.config.simulations[name]
  count = spec.targets or len(experiment.split.targets)
  count = min(count, len(experiment.split.targets))
  directory = experiment.workdir / "simulation" / name
  paths = [directory / f"target-{i:05d}.npz" for i in range(count)]
  done = {}
  for i, path in enumerate(paths):
    with contextlib.suppress(FileNotFoundError, files.Damaged):
      done[i] = files.read_arrays(path)
  if len(done) < count:
    prior = None
    fixed = experiment.config.split.fixed
    sample = min(spec.sample or fixed, fixed)
    if spec.prior_weight:
      records = experiment.adversary_records().x
      prior = attack.gaussian_prior(records, spec.prior_weight)
    fixed_records, sought = experiment.records("fixed"), None
    releases = _releases(experiment, count, spec.search_keys)
    candidates = _candidates(experiment, spec.starts)
    search = _search(experiment, name)
    if spec.search_rate:
      train = _at_rate(experiment, spec.sample)
      given = fixed_records, releases, candidates, search
      sought = attack.sought(train, *given, spec.search_rate)
      simulate, releases, candidates, search, *_ = sought
    else:
      simulate = _simulate(experiment, spec.sample)
    searched = attack.reconstruct(
      simulate,
      fixed_records,
      releases,
      candidates,
      search,
      prior=prior,
      batch=experiment.config.perf.simulation_batch,
      skip=frozenset(done),
      jacobian_cost=(sample + 1) / (fixed + 1),
    )
    with tqdm(
      searched, total=count, initial=len(done), desc=name, unit="target"
    ) as bar:
      found = sum(answer["explained"] for answer in done.values())
      for i, answer in bar:
        rate = {}
        if sought is not None:
          answer, ratio = sought.split(answer)
          rate = dict(rate_found=ratio)
        done[i] = answer._asdict()
        files.write_arrays(paths[i], **done[i])
        found += answer.explained
        bar.set_postfix(found=found, refresh=False)
        experiment.log(
          stage="simulation",
          name=name,
          target=i,
          residual=answer.residual,
          passes=answer.passes,
          **rate,
        )
  x, y, residual, passes, explained = (
    np.stack([done[i][key] for i in range(count)])
    for key in ("x", "y", "residual", "passes", "explained")
  )
  return Answers(x, y, identifiable=explained, residual=residual, cost=passes)


def _search(experiment: Experiment, name: str) -> attack.Search:
  spec = experiment.config.simulations[name].to_dict()
  return attack.Search(
    **{k: v for k, v in spec.items() if k not in _OF_THE_STAGE}
  )


def _simulate(experiment: Experiment, sample: int = 0) -> attack.Simulate:
  """The released model's training, without the noise nobody can know; its
  derivative by a sample of the fixed set, or by all of it."""
  train = _at_rate(experiment, sample)

  def simulate(fixed, target, model_id):
    return train(fixed, target, model_id, 1.0)

  return simulate


def _at_rate(experiment: Experiment, sample: int):
  """The same at another learning rate, over the one believed."""
  _, hparams = experiment.training()
  hparams = hparams._replace(noise_multiplier=0.0)
  remat = experiment.config.perf.simulation_remat
  gradient = _gradient(experiment, sample)
  train = experiment.train(gradient=gradient, remat=remat)
  threat = ensemble.Threat(**experiment.config.threat)
  one = ensemble.make_one(train, threat)
  shown = release.visible(
    experiment.model().layout, experiment.release().layers
  )

  def at_rate(fixed, target, model_id, ratio):
    rate = ratio * hparams.learning_rate
    given = hparams._replace(learning_rate=rate)
    return shown * one(experiment.key, fixed, target, model_id, given)

  return at_rate


def _gradient(experiment: Experiment, sample: int):
  """What a simulated step sees; None: what the released model's saw."""
  recipe, _ = experiment.training()
  return attack.sampled_gradient(experiment.model(), recipe, sample)


def _releases(
  experiment: Experiment, count: int, search_keys: bool
) -> attack.Release:
  """The released models, each with the end of training without its target.

  Random draws that are not shared are unknown: the adversary takes its own, or
  tries those of all evaluation targets and keeps the ones whose training
  without the target comes closest.
  """
  theta = experiment.rows("targets").all()[:count]
  simulate, fixed = _simulate(experiment), experiment.records("fixed")
  fixed = Records(*map(jnp.asarray, fixed))
  base = jax.jit(
    lambda ids: jax.lax.map(
      lambda i: simulate(fixed, None, i), ids, batch_size=32
    ),
    compiler_options=compiler.options(),
  )
  threat = ensemble.Threat(**experiment.config.threat)
  own = np.uint32([ensemble.BASE_ID])
  if threat == ensemble.Threat() or not search_keys:
    rows = np.asarray(base(own))
    nearest, ids = np.zeros(count, int), own
  else:
    ids = experiment.split.targets.astype(np.uint32)
    rows = np.asarray(base(ids))
    nearest = np.array(
      [np.argmin(np.square(rows - row).sum(1)) for row in theta]
    )
  return attack.Release(theta, rows[nearest], ids[nearest])


def _candidates(
  experiment: Experiment, starts: tuple[str, ...]
) -> attack.Candidates:
  """Every starting point with every label; a class's mean with its own."""
  classes = experiment.dataset.num_classes
  labels = np.arange(classes, dtype=np.int32)
  fixed = experiment.records("fixed")
  overall = fixed.x.mean(0)
  means = np.stack(
    [fixed.x[fixed.y == k].mean(0) if k in fixed.y else overall for k in labels]
  )
  guesses = [
    answers.read(experiment.workdir, start).answers.x
    for start in starts
    if start != CLASS_MEANS
  ]

  def candidates(i: int):
    x = [np.repeat(guess[i][None], classes, 0) for guess in guesses]
    x += [means] if CLASS_MEANS in starts else []
    return np.concatenate(x), np.tile(labels, len(x))

  return candidates
