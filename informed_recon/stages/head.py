"""Fine-tuned heads: features in closed form, then pictures by a decoder.

The shadow targets are the public pictures. The extractor learns on those of the
first `head.classes` classes; the head is trained on the fixed set and a target,
of all classes.
"""

import jax
import jax.numpy as jnp
import numpy as np

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
  folder, workdir = experiment.workdir / "head", experiment.workdir
  public = experiment.records("shadow")
  features = _features(experiment, folder / "extractor.npz", public)
  known = features(public.x)
  center, scale = known.mean(0), known.std() or 1.0

  def standard(x):
    return (features(x) - center) / scale

  heads = _heads(experiment, folder / "heads.npz", standard)
  found = _read(experiment, folder / "features.npz", heads, standard)
  seen = ((known - center) / scale).astype(np.float32)
  rows, shape = Rows((seen,), len(seen)), experiment.dataset.shape
  said = found["x"].astype(np.float32)

  def answer(name, make):
    if not answers.intact(workdir, name):
      given = Answers(
        np.asarray(make(), np.float32), found["y"], found["identifiable"],
        found["residual"],
      )  # fmt: skip
      answers.write(workdir, name, answers.Attack("head", given))

  def linear():
    fit = baselines.ridge(rows, public.x, shadows=len(public.x))
    return fit(said, shape)

  answer("head_linear", linear)
  answer(
    "head_network", lambda: _decoder(experiment, folder, rows, public)(said)
  )
  files.kept_sealed(
    workdir / "released_model.json",
    lambda: _about(experiment, heads, found["mse"], standard),
  )


def _features(experiment: Experiment, path, public: Records):
  """The features of pictures, by an extractor that is trained once."""
  spec = experiment.config.head
  network = head.Extractor(spec.classes, tuple(spec.widths))
  key = prng.stream(experiment.key, "extractor")
  if not files.arrays_intact(path):
    some = public.y < spec.classes
    params = head.fit_extractor(
      network, Records(public.x[some], public.y[some]), key, epochs=spec.epochs
    )
    files.write_arrays(path, params=tree.flatten(params))
  like = jax.eval_shape(network.init, key, public.x[:1])
  params = tree.unflatten(files.read_arrays(path)["params"], like)
  return head.make_features(network, params)


def _heads(experiment: Experiment, path, standard) -> dict[str, np.ndarray]:
  """A released head for every target: weights (M, K, d), intercepts (M, K)."""
  spec, classes = experiment.config.head, experiment.dataset.num_classes
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  if not files.arrays_intact(path):
    fit_many = fitting_many.make_fit_many(
      "softmax",
      standard(fixed.x),
      fitting.encode("softmax", fixed.y, classes),
      l2=spec.l2,
      penalise_intercept=True,
      chunk=10,
    )
    fitted = fit_many(
      standard(targets.x), fitting.encode("softmax", targets.y, classes)
    )
    rng = np.random.default_rng(experiment.config.seed)
    weights, intercept = (
      np.asarray(a) + spec.noise * rng.normal(size=np.shape(a))
      for a in fitted[:2]
    )
    files.write_arrays(path, weights=weights, intercept=intercept)
  return files.read_arrays(path)


def _read(experiment: Experiment, path, heads, standard):
  """What the heads tell of their targets' features."""
  fixed, targets = experiment.records("fixed"), experiment.records("targets")
  if not files.arrays_intact(path):
    found = convex.reconstruct_many(
      "softmax",
      heads["weights"],
      heads["intercept"],
      standard(fixed.x),
      fixed.y,
      l2=experiment.config.head.l2,
      penalise_intercept=True,
      chunk=10,
    )
    read = np.nan_to_num(np.stack([one.x for one in found]))
    files.write_arrays(
      path,
      x=read,
      y=np.array([one.y for one in found]),
      identifiable=np.array([one.identifiable for one in found]),
      residual=np.array([one.residual for one in found]),
      mse=np.mean((read - standard(targets.x)) ** 2, 1),
    )
  return files.read_arrays(path)


def _about(experiment: Experiment, heads, errors, standard) -> dict:
  """Accuracy of the heads, and what the report says of them."""
  weights, intercept = heads["weights"], heads["intercept"]
  x, y = experiment.records("accuracy")
  accuracy = interval = None
  if len(y):
    scores = np.einsum("mkd,nd->mnk", weights, standard(x))
    right = (scores + intercept[:, None]).argmax(2) == y
    accuracy, interval = metrics.mean_ci95(right.mean(1))
  return dict(
    test_accuracy_mean=accuracy,
    test_accuracy_mean_ci95=interval and list(interval),
    model="softmax_head",
    parameters=weights[0].size + intercept[0].size,
    models=len(weights),
    adversary_knows=["objective"],
    feature_mse_median=float(np.median(errors)),
    feature_mse_max=float(errors.max()),
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
    checkpoint_seconds=experiment.config.perf.checkpoint_seconds,
  )
