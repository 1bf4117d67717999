"""One page of threat models: what an adversary knows, and what it gets then.

Every number comes from results that are kept: those of configs/threats.py, of
other runs, and rows of benches. A row whose file is not there says so.
"""

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from informed_recon.experiment import Experiment
from informed_recon.report import figures, verdict
from informed_recon.report.page import template as page_of
from informed_recon.storage import answers, files

SHOWN = 8  # targets in the figure
MACHINE = "busy_2cores"  # that the rows are of, in their files' names


class Threat(NamedTuple):
  """One kind of knowledge.

  Attributes:
    name: a few words.
    knows, sees: what the adversary is given.
    gets: results -> a sentence or two with what was measured.
    fails: where the attack finds nothing.
    cost: what it takes.
    bound: what limits any attack of this kind.
    more: the page that has the rest.
  """

  name: str
  knows: str
  sees: str
  gets: Callable[["Results"], str]
  fails: str
  cost: str
  bound: str
  more: str


class Results:
  """Kept results by name; a missing one is a FileNotFoundError.

  Args:
    runs: folder of runs, each with a results.json.
    rows: folder of the benches' rows.
  """

  def __init__(self, runs: pathlib.Path, rows: pathlib.Path):
    self._runs, self._rows = runs, rows

  def run(self, name: str) -> dict:
    path = self._runs / name / "results.json"
    if not path.is_file():
      raise FileNotFoundError(f"no results of {name}")
    return json.loads(path.read_text())

  def attack(self, run: str, name: str) -> dict:
    return self.run(run)["attacks"][name]

  def rows(self, bench: str) -> dict[str, dict]:
    """case -> its row."""
    path = self._rows / f"{bench}_{MACHINE}.jsonl"
    if not path.is_file():
      raise FileNotFoundError(f"no rows of bench.{bench}")
    rows = map(json.loads, path.read_text().splitlines())
    return {row["case"]: row for row in rows if "case" in row}


def share(rate: float, interval) -> str:
  low, high = interval
  return f"{rate:.0%} [{low:.0%}, {high:.0%}]"


def _listed(what: str, cases: list[str]) -> str:
  return "".join([what, *(f"\n    * {case}" for case in cases)])


def _found(one: Mapping) -> str:
  """Success, labels and the median error of an attack's results."""
  said = (
    f"{share(one['success_rate'], one['success_rate_ci95'])} of "
    f"{one['targets']} targets nearer than any known record, median MSE "
    f"{one['mse_median']:.1e}"
  )
  if one.get("label_accuracy") is not None:
    said += f"; {one['label_accuracy']:.0%} of the labels right"
  if one.get("flagged_rate") is not None:
    wrong = one.get("trusted_wrong", 0)
    said += (
      f"; {1 - one['flagged_rate']:.0%} vouched for, {wrong} of them wrong"
    )
  return said


def _convex(results: Results) -> str:
  one = results.attack("convex_mnist", "convex")
  return (
    f"MNIST, softmax regression, {one['targets']} targets: "
    f"{1 - one['flagged_rate']:.1%} vouched for, all at an MSE of at most "
    f"{one['trusted_mse_max']:.0e}, {one['trusted_wrong_labels']} wrong labels"
  )


def _prior_aware(results: Results) -> str:
  said = []
  for row in results.run("dp_prior_aware")["privacy"]["prior_aware"]:
    eight = row["identification"]["8"]
    low, high = eight["success_rate_ci99"]
    said.append(
      f"ε = {row['epsilon']:.3g}: {eight['success_rate']:.0%} "
      f"[{low:.0%}, {high:.0%}] where the bound is "
      f"{eight['success_upper']:.0%}"
    )
  return _listed("the right one of 8 candidates (99% intervals):", said)


def _deletion(results: Results) -> str:
  rows = results.rows("deletion")
  said = []
  for case in (
    "Ridge, diabetes",
    "LogisticRegression, digits",
    "LogisticRegression, tol=1e-8, digits",
    "digits-10-10, anew",
  ):
    ours, count = rows[case]["ours"], rows[case]["targets"]
    rate = share(ours["found"] / count, ours["found_ci95"])
    said.append(f"{case}: {rate} of {count}")
  return _listed("an answer nearer than any public record:", said)


def _gradient(results: Results) -> str:
  rows = [r for r in results.rows("gradient").values() if "found" in r]
  found = sum(row["found"] for row in rows)
  vouched = sum(row["vouched"] for row in rows)
  wrong = sum(row["vouched_wrongly"] for row in rows)
  return (
    f"{found} of {sum(row['batches'] for row in rows)} batches of 2 to 10 "
    "records whole, up to what the gradient leaves open (sign or length); "
    f"{vouched} vouched for, {wrong} of them wrong"
  )


def _sets(results: Results) -> str:
  kinds: dict[str, list[dict]] = {}
  for case, row in results.rows("sets").items():
    kinds.setdefault(case.rpartition(",")[0], []).append(row)
  said = []
  for kind, rows in kinds.items():
    total = sum(row["k"] for row in rows)
    found = sum(row["found"] for row in rows)
    wrong = sum(row["vouched_wrongly"] for row in rows)
    said.append(f"{kind}: {found} of {total}, {wrong} vouched for and wrong")
  return _listed("records at an MSE of at most 1e-3:", said)


def _kkt(results: Results) -> str:
  said = []
  for case, row in results.rows("kkt").items():
    said.append(
      f"{case}: {row['found']}, in the negative control {row['control']}"
    )
  return _listed("records found with an SSIM above 0.4:", said)


THE_RUN = "threats"  # configs/threats.py
THREATS = (
  Threat(
    "All records but one, a convex model",
    "every record but one, the objective",
    "fitted coefficients",
    _convex,
    "records that the model fits to rounding; solvers that stop early, of "
    "which a part is found; weights of records that nobody tells",
    "four to six gradients over the known records, in a batch of targets fewer",
    "noise on the coefficients: the Fisher-information floor is attained",
    "convex.md",
  ),
  Threat(
    "All but one, a network at a stationary point",
    "every record but one, the loss and the weight decay; neither "
    "initialisation nor order",
    "parameters, trained to the end with weight decay",
    lambda r: _found(r.attack(THE_RUN, "converged")),
    "training that stops early blurs it; without weight decay it finds nothing",
    "ten gradients over the known records, where training stopped early some "
    "170; no model is trained",
    "differential privacy",
    "stationarity.md",
  ),
  Threat(
    "All but one, the recipe, and a way to simulate it",
    "every record but one, the training algorithm, initialisation and order",
    "parameters",
    lambda r: _found(r.attack(THE_RUN, "simulation")),
    "an initialisation or an order that is secret; ReLU, where about half is "
    "found and nothing vouched for",
    "hundreds of passes through the training for each target; no shadow model",
    "differential privacy, which allows far more than it attains",
    "simulation.md",
  ),
  Threat(
    "All but one, the recipe, and other records of the kind",
    "every record but one, the training algorithm, public records to train "
    "shadow models with",
    "parameters",
    lambda r: _found(r.attack(THE_RUN, "gram")),
    "a secret initialisation: it answers with the mean record",
    "2,000 shadow models and the training of a reconstructor, once for all "
    "targets",
    "differential privacy: at ε = 1,000 worse than the mean image",
    "results.md",
  ),
  Threat(
    "A few candidates, private training",
    "every record but one, all noisy gradients, and m candidates for the one",
    "every step of DP training",
    _prior_aware,
    "small ε and many candidates: it is then seldom right, though more often "
    "than a guess",
    "a likelihood for each candidate",
    "the bound on any attack at κ = 1/m",
    "privacy.md",
  ),
  Threat(
    "All but k",
    "every record but k, the training algorithm or the objective",
    "parameters",
    _sets,
    "more unknown numbers than the parameters tell apart; ten unknown records, "
    "of which the search finds a part",
    "a joint search over k records",
    "differential privacy for groups of k",
    "sets.md",
  ),
  Threat(
    "No record",
    "the architecture, and the mean of records of the kind",
    "parameters of a homogeneous ReLU network, trained to a large margin",
    _kkt,
    "networks with biases in later layers, and training that was stopped",
    "a search over tens of thousands of steps",
    "differential privacy; no proof that a found record is one",
    "sets.md",
  ),
  Threat(
    "One gradient",
    "a two-layer network with its weights",
    "the gradient of one small batch, as in federated learning",
    _gradient,
    "batches with about as many unknown numbers as the gradient has; gradients "
    "in float32 and batches above 10 were not tried",
    "less than a second to a minute a batch",
    "noise on the gradient",
    "gradient.md",
  ),
  Threat(
    "A record that was deleted",
    "no training record; public records of the same distribution",
    "the model before and after the deletion",
    _deletion,
    "networks that are trained anew, and solvers that stop early",
    "a gradient over public records at both models, and fits to parts of them "
    "that show what the solver leaves",
    "differential privacy of training, before and after",
    "deletion.md",
  ),
)


def write(page: pathlib.Path, runs: pathlib.Path, rows: pathlib.Path) -> None:
  """The page in Markdown, from kept results."""
  results = Results(runs, rows)
  said = []
  for threat in THREATS:
    try:
      gets = threat.gets(results)
    except FileNotFoundError as error:
      gets = f"not measured ({error})"
    said.append((threat, gets))
  run = results.run(THE_RUN)
  files.write_text(
    page,
    page_of("threats.md.jinja").render(
      threats=said,
      oracle=run["baselines"][verdict.ORACLE],
      accuracy=run["released_model"]["test_accuracy_mean"],
      ridge=_found(run["baselines"]["ridge"]),
    ),
  )


def picture(experiment: Experiment):
  """The first targets as each attack of one run sees them."""
  truth = experiment.records("targets").x
  found = {
    name: answers.read(experiment.workdir, name).answers.x
    for name in ("converged", "simulation", "gram")
  }
  guesses = files.read_arrays(experiment.evaluation / "guesses.npz")
  rows = {
    "target": truth,
    "stationary weights": found["converged"],
    "simulated training": found["simulation"],
    "reconstructor": found["gram"],
    "ridge regression": guesses["ridge"],
    "nearest known": guesses[verdict.ORACLE],
  }
  count = min(SHOWN, *(len(x) for x in rows.values()))
  figure = figures.Figure(
    figsize=(0.9 * count + 1.6, 0.95 * len(rows)), layout="constrained"
  )
  axes = figure.subplots(len(rows), count, squeeze=False)
  for (label, images), line in zip(rows.items(), axes):
    for axis, image in zip(line, np.asarray(images)):
      figures.show(axis, image)
    line[0].set_axis_on()
    line[0].set(xticks=[], yticks=[])
    line[0].set_ylabel(label, rotation=0, ha="right", va="center")
    for spine in line[0].spines.values():
      spine.set_visible(False)
  return figure
