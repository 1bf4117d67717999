"""Fine-tuned heads: features in closed form, then pictures by a decoder.

The shadow targets are the public pictures. The extractor learns on those of the
first `head.classes` classes; the head is trained on the fixed set and a target,
of all classes.
"""

import jax.numpy as jnp
import numpy as np
from flax import serialization

from informed_recon import prng, tree
from informed_recon.attacks import convex, head, reconstructor
from informed_recon.attacks.convex import fitting, fitting_many
from informed_recon.attacks.reconstructor import networks
from informed_recon.evaluation import baselines, metrics
from informed_recon.experiment import Experiment
from informed_recon.storage import answers, files
from informed_recon.storage.store import Rows
from informed_recon.types import Answers, Records, UserError


def check(experiment: Experiment) -> None:
  spec, shape = experiment.config.head, experiment.dataset.shape
  if len(shape) != 3:
    raise UserError(f"the stage 'head' wants images, got records of {shape}")
  if not 2 <= spec.classes <= experiment.dataset.num_classes:
    raise UserError(
      f"head.classes must lie in [2, {experiment.dataset.num_classes}], got "
      f"{spec.classes}"
    )
  if not (spec.l2 > 0 and spec.noise >= 0):
    raise UserError("head.l2 must be above 0, head.noise at least 0")
  if len(experiment.split.shadow) < 100:
    raise UserError(
      "the stage 'head' wants split.shadow of 100 public pictures"
    )


def run(experiment: Experiment) -> None:
  """Leaves `head/`, `attacks/head_linear.npz` and `attacks/head_network.npz`,
  and `released_model.json`."""
  folder = experiment.workdir / "head"
  public = experiment.records("shadow")
  features = _features(experiment, folder, public)
  known = features(public.x)
  center, scale = known.mean(0), known.std() or 1.0

  def standard(x):
    return (features(x) - center) / scale

  seen = ((known - center) / scale).astype(np.float32)
  if not (folder / "features.npz").exists():
    _read_heads(experiment, folder, standard)
  found = files.read_arrays(folder / "features.npz")
  rows, shape = Rows((seen,), len(seen)), experiment.dataset.shape
  said = found["x"].astype(np.float32)

  def answer(name, x):
    given = Answers(
      np.asarray(x, np.float32), found["y"], found["identifiable"],
      found["residual"],
    )  # fmt: skip
    answers.write(experiment.workdir, name, answers.Attack("head", given))

  if not answers.path(experiment.workdir, "head_linear").exists():
    linear = baselines.ridge(rows, public.x, shadows=len(public.x))
    answer("head_linear", linear(said, shape))
  if not answers.path(experiment.workdir, "head_network").exists():
    answer("head_network", _decoder(experiment, folder, rows, public)(said))


def _features(experiment: Experiment, folder, public: Records):
  spec, path = experiment.config.head, folder / "extractor.msgpack"
  network = head.Extractor(spec.classes, tuple(spec.widths))
  key = prng.stream(experiment.key, "extractor")
  if not path.exists():
    some = public.y < spec.classes
    params = head.fit_extractor(
      network, Records(public.x[some], public.y[some]), key, epochs=spec.epochs
    )
    files.write(path, lambda f: f.write(serialization.to_bytes(params)))
  like = network.init(key, public.x[:1])
  params = serialization.from_bytes(like, path.read_bytes())
  return head.make_features(network, params)


def _read_heads(experiment: Experiment, folder, standard) -> None:
  """Trains a head for every target and reads the target's features from it."""
  spec, classes = experiment.config.head, experiment.dataset.num_classes
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  known, z = standard(fixed.x), standard(targets.x)
  fit_many = fitting_many.make_fit_many(
    "softmax", known, fitting.encode("softmax", fixed.y, classes),
    l2=spec.l2, penalise_intercept=True, chunk=10,
  )  # fmt: skip
  fitted = fit_many(z, fitting.encode("softmax", targets.y, classes))
  rng = np.random.default_rng(experiment.config.seed)
  noisy = [
    np.asarray(a) + spec.noise * rng.normal(size=np.shape(a))
    for a in fitted[:2]
  ]
  found = convex.reconstruct_many(
    "softmax",
    *noisy,
    known,
    fixed.y,
    l2=spec.l2,
    penalise_intercept=True,
    chunk=10,
  )
  read = np.nan_to_num(np.stack([one.x for one in found]))
  files.write_arrays(
    folder / "features.npz",
    x=read,
    y=np.array([one.y for one in found]),
    identifiable=np.array([one.identifiable for one in found]),
    residual=np.array([one.residual for one in found]),
    mse=np.mean((read - z) ** 2, 1),
  )
  x, y = experiment.records("accuracy")
  accuracy = interval = None
  if len(y):
    scores = np.einsum("mkd,nd->mnk", noisy[0], standard(x))
    right = (scores + noisy[1][:, None]).argmax(2) == y
    accuracy, interval = metrics.mean_ci95(right.mean(1))
  errors = np.mean((read - z) ** 2, 1)
  files.write_json(
    experiment.workdir / "released_model.json",
    dict(
      test_accuracy_mean=accuracy,
      test_accuracy_mean_ci95=interval and list(interval),
      model="softmax_head",
      parameters=noisy[0][0].size + noisy[1][0].size,
      models=len(read),
      adversary_knows=["objective"],
      feature_mse_median=float(np.median(errors)),
      feature_mse_max=float(errors.max()),
    ),
  )


def _decoder(experiment: Experiment, folder, rows: Rows, public: Records):
  """A network from features to pictures, trained on public ones."""
  spec = experiment.config.head.decoder.to_dict()
  options = spec.pop("options")
  layout = tree.layout(jnp.zeros(rows.num_params))
  network = networks.build("mlp", layout, experiment.dataset.shape, options)
  return reconstructor.fit(
    network,
    reconstructor.Fit(**spec),
    rows,
    public.x,
    prng.stream(experiment.key, "decoder"),
    folder / "decoder",
    log=lambda row: experiment.log(stage="head", **row),
  )
