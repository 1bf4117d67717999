"""What reconstructions of the missing record are worth, for people."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from informed_recon import registry
from informed_recon.experiment import Experiment
from informed_recon.report import exposure, figures, table, verdict, words
from informed_recon.report.attacks import Picture, Run, Shown
from informed_recon.report.page import Page
from informed_recon.storage import answers, files

NOTE = """
Means over the evaluation targets with 95% bootstrap intervals; shares of
targets with 95% Clopper-Pearson intervals. Success: nearer to the target than
any record the adversary knew. TPR at an FPR of 1%: share of targets recognised
from their own weights when 1% of reconstructions from another target's weights
would pass. The nearest-neighbour oracle picks the closest known record knowing
the target: it is no attack, but the mark that separates reconstruction from
retrieval. Lower is better for MSE, MAE, KL and the perceptual distance, higher
for the rest.
"""
CAPTIONS = {
  "grid": (
    "Seen and reconstructed",
    "Targets by the error of the strongest attack. “Nearest known” is the "
    "closest of all records the adversary already knew.",
  ),
  "errors": (
    "Error against the baselines",
    "Further left is better for the attack.",
  ),
  "roc": (
    "Does it come from the weights?",
    "A generic answer can be close to a target by luck; a reconstruction "
    "counts when it is close with the target's own weights and not with "
    "another's.",
  ),
  "kappa": (
    "What privacy bounds",
    "Where a blind guess succeeds easily, no bound can say much: choose η so "
    "that κ is small. κ is an upper limit, from the known records.",
  ),
}


def text(results: Mapping) -> str:
  """The table for a terminal, with 95% intervals in brackets."""
  released = results["released_model"]
  return "\n".join(
    [
      table.aligned([table.header(results), *table.rows(results)]),
      f"means over targets with 95% intervals; {released['models']} released "
      f"models, test accuracy "
      f"{table.share(released['test_accuracy_mean'], None)}"
      f"{_on_training(released)}",
      verdict.sentence(results, words.nouns(())),
    ]
  )


def _on_training(released: Mapping) -> str:
  accuracy = released.get("train_accuracy_mean")
  if accuracy is None:
    return ""
  return f", on their training records {table.share(accuracy, None)}"


def page(experiment: Experiment, results: Mapping) -> Page:
  """Verdict, warnings, figures, exposed records and table of an experiment."""
  run = _read(experiment, results)
  nouns = words.nouns(experiment.dataset.shape)
  best = verdict.strongest(results)
  # For the order of pictures: an attack that answered for every target. Where
  # none did, the mean record.
  most = max(map(len, run.mse.values()))
  full = {k: v for k, v in run.mse.items() if len(v) == most}
  leading = best
  if best not in full:
    complete = _only(results, full)
    some = verdict.adversaries(complete)
    leading = verdict.strongest(complete) if some else verdict.BLIND
  order = run.mse[leading].argsort(kind="stable")
  pictures = _pictures(run, order, nouns)
  story = [verdict.sentence(results, nouns), *_story(experiment, results, best)]
  warnings = [*_quick(experiment.config.title), *_warnings(run, nouns)]
  for shown in _by_kind(run):
    pictures |= shown.pictures
    story += shown.story
    warnings += shown.warnings
  released = results["released_model"]
  return Page(
    title=f"{experiment.dataset.name}: what a released model gives away "
    f"({words.model(released)}, {released['parameters']:,} parameters)",
    story=story,
    warnings=warnings,
    tiles=_tiles(results, best),
    pictures=pictures,
    gallery=exposure.gallery(run, order, leading),
    exposure=exposure.exposure(run, best),
    header=table.header(results),
    rows=list(table.rows(results)),
    note=NOTE,
    limits=verdict.not_tried(
      _open_to(experiment), [a.kind for a in run.attacks.values()], results
    ),
  )


def _read(experiment: Experiment, results: Mapping) -> Run:
  folder = experiment.evaluation
  errors = files.read_arrays(folder / "per_target.npz")
  attacks = {
    name: answers.read(experiment.workdir, name) for name in results["attacks"]
  }
  baselines = files.read_arrays(folder / "guesses.npz")
  return Run(
    experiment=experiment,
    results=results,
    attacks=attacks,
    baselines=baselines,
    mse={name: errors[f"{name}/mse"] for name in [*attacks, *baselines]},
    palette=figures.colours(list(attacks)),
  )


def _only(results: Mapping, names: Mapping) -> dict:
  """Results of some attacks and baselines alone."""
  groups = ("attacks", "baselines")
  return {
    group: {k: v for k, v in results[group].items() if k in names}
    for group in groups
  }


def _pictures(run: Run, order: np.ndarray, nouns: words.Nouns) -> dict:
  truth = run.experiment.records("targets").x
  guesses = {name: a.answers.x for name, a in run.attacks.items()}
  informed = {k: v for k, v in run.baselines.items() if k == "ridge"} | guesses
  drawn = {
    "errors": figures.errors(run.mse, run.palette, nouns.feature),
    "roc": figures.roc_curves(truth, informed, run.palette),
  }
  if words.is_image(truth.shape[1:]):
    nearest = run.baselines[verdict.ORACLE]
    rows = {"target": truth, **guesses, "nearest known": nearest}
    rows = {k: x for k, x in rows.items() if len(x) == len(order)}
    drawn = {"grid": figures.grid(rows, order)} | drawn
  privacy = run.results["privacy"]
  if "kappa_curve" in privacy:
    drawn["kappa"] = figures.kappa(privacy["kappa_curve"], nouns.feature)
  return {k: Picture(*CAPTIONS[k], figure) for k, figure in drawn.items()}


def _by_kind(run: Run) -> Iterator[Shown]:
  """What each kind of attack in the run has to show of its own."""
  kinds: dict[str, list[str]] = {}
  for name, attack in run.attacks.items():
    kinds.setdefault(attack.kind, []).append(name)
  for kind, names in kinds.items():
    if kind in registry.names("report.attacks"):
      yield registry.find("report.attacks", kind).show(run, names)


def _open_to(experiment: Experiment) -> dict[str, str]:
  """Kinds of attack that models like these are open to, and what they do."""
  modules = {
    kind: registry.find("report.attacks", kind)
    for kind in registry.names("report.attacks")
  }
  return {
    kind: module.WHAT
    for kind, module in modules.items()
    if getattr(module, "WHAT", "") and module.OPEN_TO in experiment.config
  }


def _warnings(run: Run, nouns: words.Nouns) -> Iterator[str]:
  return verdict.warnings(
    run.results,
    nouns,
    num_classes=run.experiment.dataset.num_classes,
    capped=[
      name
      for name in run.attacks
      if words.is_image(run.experiment.dataset.shape)
      and (run.mse[name] <= 10 ** (-table.CAP / 10)).any()
    ],
  )


def _quick(title: str) -> Iterator[str]:
  if "quick form" in title:
    yield "This is the quick form of an experiment: it shows that it runs."


def _story(
  experiment: Experiment, results: Mapping, best: str
) -> Iterator[str]:
  """What was attacked, what the adversary knew, and how near it came."""
  split, released = experiment.split, results["released_model"]
  config, nouns = experiment.config, words.nouns(experiment.dataset.shape)
  knew = "The adversary knew all of these records but one, "
  threat = config.get("threat", {})
  knew += words.knew(released["adversary_knows"], threat)
  if len(split.shadow):
    kind = "another kind" if experiment.dataset.foreign else "the same kind"
    knew += f"; it had {len(split.shadow):,} further records of {kind}"
  yield (
    f"We trained a model ({words.model(released)}, "
    f"{released['parameters']:,} parameters) on {len(split.fixed) + 1:,} "
    f"{nouns.records} of {experiment.dataset.name} and released its weights. "
    f"{words.guarantee(results['privacy'])}{knew}. "
    f"{words.mistaken(config.get('truth', {}))}"
    f"{words.published(config.get('release', {}))}This was done for "
    f"{len(split.targets):,} different missing records in turn."
  )
  row = verdict.adversaries(results)[best]
  oracle = results["baselines"][verdict.ORACLE]
  blind = results["baselines"][verdict.BLIND]
  nearer = "nearer" if row["mse_mean"] < oracle["mse_mean"] else "no nearer"
  yield (
    f"On average the answer of {words.name(best)} was {nearer} to the truth "
    f"(mean squared error {table.number(row['mse_mean'])}) than the closest "
    f"known record ({table.number(oracle['mse_mean'])}); the mean of the known "
    f"records has an error of {table.number(blind['mse_mean'])}."
  )


def _tiles(results: Mapping, best: str) -> Sequence[tuple[str, str, str]]:
  row = verdict.adversaries(results)[best]
  oracle = results["baselines"][verdict.ORACLE]
  released, privacy = results["released_model"], results["privacy"]
  low, high = row["success_rate_ci95"]
  tiles = [
    (
      f"{row['success_rate']:.1%}",
      "recovered",
      f"by {words.name(best)}; 95% interval {low:.1%} to {high:.1%}",
    ),
    (
      table.number(row["mse_mean"]),
      "mean squared error",
      f"nearest-neighbour oracle {table.number(oracle['mse_mean'])}",
    ),
  ]
  for fpr, tpr in row.get("tpr_at_fpr", {}).items():
    what = f"TPR at an FPR of {float(fpr):.3g}"
    tiles.append((f"{tpr:.1%}", what, "recognised as leaked"))
  for m, rate in list(row["identification"].items())[-1:]:
    what = f"found among {m} candidates"
    tiles.append((f"{rate:.1%}", what, f"a blind guess: {1 / int(m):.1%}"))
  if "flagged_rate" in row:
    tiles.append(
      (
        f"{row['flagged_rate']:.1%}",
        "declared out of reach",
        "the attack says so itself" + _worth(row.get("unguarded")),
      )
    )
  if privacy["epsilon"] is not None:
    tiles.append(
      (
        f"ε = {privacy['epsilon']:.3g}",
        "differential privacy",
        f"at δ = {privacy['delta']:g}, {privacy['neighbouring_relation']}",
      )
    )
  if released["test_accuracy_mean"] is not None:
    tiles.append(
      (
        f"{released['test_accuracy_mean']:.1%}",
        "accuracy of the released model",
        f"mean of {released['models']} models",
      )
    )
  return tiles


def _worth(unguarded: dict | None) -> str:
  """What the answers were worth that an attack declined to give."""
  if unguarded is None:
    return ""
  rate = unguarded["right_rate"]
  return f"; of what it computed there {rate:.0%} would have been right"
