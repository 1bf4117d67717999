"""Fits every reconstructor network of the config and attacks the targets."""

from tqdm import tqdm

from informed_recon import prng
from informed_recon.attacks import reconstructor
from informed_recon.attacks.reconstructor import networks
from informed_recon.experiment import Experiment
from informed_recon.storage import answers
from informed_recon.types import Answers, UserError


def check(experiment: Experiment) -> None:
  for name in experiment.config.reconstructors:
    _network(experiment, name)
    spec = _spec(experiment, name)
    reconstructor.check(spec, len(experiment.split.shadow))
    if spec.perceptual_weight and "perceptual" not in experiment.config:
      raise UserError(
        f"reconstructors.{name}.perceptual_weight needs a distance; add the "
        "group `perceptual` to the config"
      )
    if spec.adversarial_weight and len(experiment.dataset.shape) != 3:
      raise UserError(
        f"reconstructors.{name}.adversarial_weight needs images (h, w, c), "
        f"got records of shape {experiment.dataset.shape}"
      )


def run(experiment: Experiment) -> None:
  """Leaves `attacks/NAME.npz` with the reconstruction of every target."""
  for name in experiment.config.reconstructors:
    if not answers.intact(experiment.workdir, name):
      said = answers.Attack("reconstructor", Answers(_attack(experiment, name)))
      answers.write(experiment.workdir, name, said)


def _attack(experiment: Experiment, name: str):
  spec, workdir = _spec(experiment, name), experiment.workdir
  shadow, released = experiment.rows("shadow"), experiment.rows("targets")
  weight = spec.perceptual_weight
  distance = experiment.perceptual("loss") if weight else None
  with tqdm(total=spec.epochs, desc=name, unit="epoch") as bar:

    def log(row: dict) -> None:
      losses = {k: v for k, v in row.items() if k.endswith("loss") and v}
      losses = {k: f"{v:.4f}" for k, v in losses.items()}
      bar.set_postfix(losses, refresh=False)
      bar.update(row["epoch"] - bar.n)
      experiment.log(stage="reconstructor", name=name, **row)

    attack = reconstructor.fit(
      _network(experiment, name),
      spec,
      shadow,
      experiment.records("shadow").x,
      prng.stream(experiment.key, f"reconstructor {name}"),
      workdir / "reconstructors" / name,
      perceptual=distance,
      log=log,
      checkpoint_seconds=experiment.config.perf.checkpoint_seconds,
    )
  return attack(released.all())


def _network(experiment: Experiment, name: str):
  spec = experiment.config.reconstructors[name]
  return networks.build(
    spec.network,
    experiment.model().layout,
    experiment.dataset.shape,
    spec.options.to_dict(),
  )


def _spec(experiment: Experiment, name: str) -> reconstructor.Fit:
  spec = experiment.config.reconstructors[name].to_dict()
  del spec["network"], spec["options"]
  return reconstructor.Fit(**spec)
