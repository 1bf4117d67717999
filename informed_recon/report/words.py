"""The codes of results.json in words for people."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

NAMES = {
  "nearest_neighbour_oracle": "nearest-neighbour oracle",
  "mean_image": "mean of the known records",
  "ridge": "ridge regression",
}


class Nouns(NamedTuple):
  """What records of one kind are called."""

  record: str
  records: str
  feature: str


def nouns(shape: Sequence[int]) -> Nouns:
  """The words for records of a shape."""
  if is_image(shape):
    return Nouns("image", "images", "pixel")
  if len(shape) == 1:
    return Nouns("row", "rows", "feature")
  return Nouns("record", "records", "feature")


def is_image(shape: Sequence[int]) -> bool:
  """Whether records of a shape (h, w, c) can be shown: grey or RGB."""
  return len(shape) == 3 and shape[-1] in (1, 3)


def name(attack: str) -> str:
  """An attack or baseline within a sentence."""
  return NAMES.get(attack, f"the attack “{attack}”")


def model(released: Mapping) -> str:
  return str(released["model"]).replace("_", " ")


def knew(codes: Sequence[str], threat: Mapping) -> str:
  """What the adversary knew beside the records.

  Args:
    codes: `adversary_knows` of results.json.
    threat: the config's group of that name.
  """
  if "objective" in codes:
    return "and the objective that was minimised"
  if "initial_weights" in codes:
    return "the training algorithm and the initial weights"
  if few := threat.get("initialisations", 0):
    return (
      "the training algorithm, and that the initial weights were one of "
      f"{few:,} that it had"
    )
  return "the training algorithm but not the initial weights"


def mistaken(truth: Mapping) -> str:
  """A sentence on what the adversary believed of the training that was not so;
  empty where it was right. `truth` is the config's group of that name."""
  parts = {
    "rate": "the learning rate was {:g} times what it believed",
    "more_steps": "there were {} more steps",
    "other_seed": "another seed drew initial weights and batches",
    "replaced": "{} of those records were others",
    "missing": "there were {} further records",
  }
  usual = dict(rate=1.0)
  said = [
    text.format(truth[key])
    for key, text in parts.items()
    if truth.get(key, usual.get(key, 0)) != usual.get(key, 0)
  ]
  return f"It was wrong: {', and '.join(said)}. " if said else ""


def published(release: Mapping) -> str:
  """A sentence on what was done to the weights before their release; empty
  where that was nothing. `release` is the config's group of that name."""
  said = []
  if release.get("pruned", 0.0):
    said.append(f"{release['pruned']:.0%} of each array was set to zero")
  if release.get("format", "float32") != "float32":
    said.append(f"they were rounded to {release['format']}")
  if release.get("layers", ""):
    said.append(
      f"only the arrays that match “{release['layers']}” were published"
    )
  return f"Of the weights, {', and '.join(said)}. " if said else ""


def guarantee(privacy: Mapping) -> str:
  """A sentence on the privacy of the release, if it had any."""
  if privacy["mechanism"] == "none":
    return ""
  said = ("epsilon", "delta", "kappa_confidence")
  settings = ", ".join(
    f"{key.replace('_', ' ')} {value:.4g}"
    for key, value in privacy.items()
    if isinstance(value, int | float) and key not in said
  )
  how = f"(mechanism {privacy['mechanism']}, {settings})"
  if privacy["epsilon"] is None:
    return f"The release guarantees no privacy {how}. "
  return (
    f"The release is differentially private with ε = "
    f"{privacy['epsilon']:.3g} at δ = {privacy['delta']:g}, neighbouring "
    f"relation {privacy['neighbouring_relation']} {how}. "
  )
