"""Figures and the HTML page of an experiment."""

import json
from collections.abc import Mapping

import matplotlib

from informed_recon import files, stages
from informed_recon.report import figures, page, table
from informed_recon.stages import Experiment


def run(experiment: Experiment) -> None:
  """Leaves `figures/*.png` and `report.html`."""
  workdir = experiment.workdir
  results = files.read_json(workdir / "evaluation/results.json")
  per_target = files.read_arrays(workdir / "evaluation/per_target.npz")
  baselines = files.read_arrays(workdir / "evaluation/guesses.npz")
  attacks = {
    name: files.read_arrays(workdir / "attacks" / f"{name}.npz")["x"]
    for name in results["attacks"]
  }
  best = min(attacks, key=lambda name: results["attacks"][name]["mse_mean"])
  truth = experiment.records("targets").x
  mse = {name: per_target[f"{name}/mse"] for name in attacks | baselines}
  palette = figures.colours(list(attacks))
  with matplotlib.rc_context(figures.STYLE):
    informed = {k: v for k, v in baselines.items() if k == "ridge"} | attacks
    drawn = {
      "errors": figures.errors(mse, palette),
      "roc": figures.roc_curves(truth, informed, palette),
    }
    logs = _training_logs(experiment)
    if logs:
      drawn["training"] = figures.training(logs, palette)
    if truth.ndim == 4 and truth.shape[-1] in (1, 3):  # grey or RGB
      nearest = baselines["nearest_neighbour_oracle"]
      rows = {"target": truth, **attacks, "nearest known": nearest}
      drawn = {"grid": figures.grid(rows, mse[best].argsort())} | drawn
  pictures = [
    (*CAPTIONS[name], page.save_figure(workdir / f"figures/{name}.png", figure))
    for name, figure in drawn.items()
  ]
  timing = files.read_json(workdir / "timing.json")
  html = page.render(
    title=experiment.config.title,
    story=_story(experiment, results, best),
    tiles=_tiles(results, best),
    pictures=[(head, image, caption) for head, caption, image in pictures],
    results=results
    | dict(timing_seconds=timing, environment=stages.environment()),
    config=experiment.config.to_dict(),
  )
  files.write_text(workdir / "report.html", html)


CAPTIONS = {
  "grid": (
    "Seen and reconstructed",
    "Targets sorted by the error of the best attack. “Nearest known” is the "
    "closest of all records the adversary already held.",
  ),
  "errors": (
    "Error against the baselines",
    "Further left is better for the attack.",
  ),
  "roc": (
    "Does it come from the weights?",
    "A generic image can be close to a target by luck; a reconstruction counts "
    "when it is close with the target's own weights and not with another's.",
  ),
  "training": (
    "Training of the reconstructor",
    "Losses on shadow models; the evaluation targets play no part.",
  ),
}


def _story(experiment: Experiment, results: Mapping, best: str) -> list[str]:
  split, row = experiment.split, results["attacks"][best]
  released = results["released_model"]
  oracle = results["baselines"]["nearest_neighbour_oracle"]
  verdict = "nearer" if row["mse_mean"] < oracle["mse_mean"] else "no nearer"
  guarded = _guarded(results["privacy"])
  knew = "The adversary knew all of these records but one, "
  knew += released["adversary_knows"]
  if len(split.shadow):
    knew += f"; it held {len(split.shadow):,} further records of the same kind"
  return [
    f"We trained a model ({released['model']}, {released['parameters']:,} "
    f"parameters) on {len(split.fixed) + 1:,} records of "
    f"{experiment.dataset.name} and released its weights. {guarded}{knew}.",
    f"From the weights alone it reconstructed the missing record, for "
    f"{len(split.targets):,} different missing records in turn. On average its "
    f"answer was {verdict} to the truth (mean squared error "
    f"{table.number(row['mse_mean'])}) than the closest record it held "
    f"({table.number(oracle['mse_mean'])}), and it was nearer for "
    f"{row['success_rate']:.1%} of the missing records.",
  ]


def _guarded(privacy: Mapping) -> str:
  """A sentence on the privacy of training, if it had any."""
  if privacy["mechanism"] == "none":
    return ""
  said = ("mechanism", "epsilon", "delta", "neighbouring_relation")
  settings = ", ".join(
    f"{name.replace('_', ' ')} {value:g}"
    for name, value in privacy.items()
    if name not in said
  )
  how = f"(mechanism {privacy['mechanism']}, {settings})"
  if privacy["epsilon"] is None:
    return f"Its training guarantees no privacy {how}. "
  return (
    f"Its training is differentially private with ε = "
    f"{privacy['epsilon']:.3g} at δ = {privacy['delta']:g}, neighbouring "
    f"relation {privacy['neighbouring_relation']} {how}. "
  )


def _tiles(results: Mapping, best: str) -> list[tuple[str, str, str]]:
  row, oracle = (
    results["attacks"][best],
    results["baselines"]["nearest_neighbour_oracle"],
  )
  released, privacy = results["released_model"], results["privacy"]
  tiles = [
    (
      table.number(row["mse_mean"]),
      "mean squared error",
      f"{best}; nearest-neighbour oracle {table.number(oracle['mse_mean'])}",
    ),
    (
      f"{row['success_rate']:.1%}",
      "reconstructed",
      "nearer to the target than any record held",
    ),
  ]
  for fpr, tpr in row["tpr_at_fpr"].items():
    tiles.append((f"{tpr:.1%}", f"TPR at FPR {fpr}", "recognised as leaked"))
  if "flagged_rate" in row:
    tiles.append(
      (
        f"{row['flagged_rate']:.1%}",
        "declared out of reach",
        "the attack says so itself, and guesses the mean record",
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


def _training_logs(experiment: Experiment) -> dict[str, list[dict]]:
  """Epoch rows of each reconstructor; a resumed run may have logged twice."""
  logs: dict[str, dict[int, dict]] = {}
  for line in (experiment.workdir / "metrics.jsonl").read_text().splitlines():
    try:
      row = json.loads(line)
    except json.JSONDecodeError:
      continue  # torn when the disk was full
    if "epoch" in row:
      logs.setdefault(row["name"], {})[row["epoch"]] = row
  return {
    name: [rows[epoch] for epoch in sorted(rows)] for name, rows in logs.items()
  }
