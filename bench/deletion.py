"""What two models give away of the record that was deleted between them.

python -m bench.deletion [--quick] [--networks] [--targets=100] [--keep=FILE]

Half of a data set is public, half was trained on. From the private half one
record after another is deleted and the estimator fitted again, at
scikit-learn's own tolerance and at a strict one. `ours` sees both models and
the public half. Beside it, on the same pairs: `baseline`, the public record
whose predictions change most (Bertran et al. 2024), and `informed`, who knows
all remaining records and sees the first model. --networks: networks with weight
decay, trained to a gradient of 1e-9 and, after the deletion, trained on from
there or anew; and softmax heads on a frozen extractor that learned on the
public half.

`found` counts answers nearer to the record than every public record. Features
are standardised by the public half (tables) or pixels in [0, 1]. `cosine` is
the mean cosine similarity of records less the public mean, `error` the median
mean squared error, `z` the median of error over stated error, as rms;
`understood` has the answers that do not call themselves lost.
"""

import jax
import numpy as np
import optax
from absl import app, flags
from scipy import stats
from sklearn import base, linear_model, preprocessing

from bench import printed
from informed_recon import data, models, prng
from informed_recon.attacks import deletion, head, stationarity
from informed_recon.attacks import sklearn as closed_form
from informed_recon.evaluation import baselines
from informed_recon.training import stationary
from informed_recon.types import Records

_NETWORKS = flags.DEFINE_bool("networks", False, "in place of estimators")
_TARGETS = flags.DEFINE_integer("targets", 100, "records deleted, one by one")
flags.DEFINE_bool("quick", False, "three records of one case")
flags.DEFINE_string("keep", "", "file for the rows as well")
EXACT = 1e-6  # error of a record that counts as exact
CLASSIFIER = linear_model.LogisticRegression(max_iter=10_000)
STRICT = linear_model.LogisticRegression(max_iter=10_000, tol=1e-8)
ESTIMATORS = [
  ("diabetes", linear_model.LinearRegression()),
  ("diabetes", linear_model.Ridge()),
  ("diabetes", linear_model.PoissonRegressor()),
  ("wine", CLASSIFIER),
  ("breast_cancer", CLASSIFIER),
  ("digits", CLASSIFIER),
  ("breast_cancer", STRICT),
  ("digits", STRICT),
]
NETWORKS = [  # data, width, after the deletion trained on or anew
  ("digits", 10, True),
  ("digits", 10, False),
]
L2 = 1e-3


def main(argv):
  del argv
  quick = flags.FLAGS.quick
  count = 3 if quick else _TARGETS.value
  if _NETWORKS.value:
    cases = NETWORKS[:1] if quick else NETWORKS
    rows = [(network, case) for case in cases]
    rows += [] if quick else [(frozen, ())]
  else:
    cases = ESTIMATORS[4:5] if quick else ESTIMATORS
    rows = [(estimator, case) for case in cases]
  printed((run(*case, count) for run, case in rows), flags.FLAGS.keep)


def halves(name: str) -> tuple[Records, Records]:
  """(private, public) records; tables standardised by the public half."""
  source = {"mnist": "mnist_sample", "digits": "digits"}.get(name, "tabular")
  records = data.load(data.DataSpec(source, name)).records
  order = np.random.default_rng(42).permutation(len(records.y))
  cut = len(order) // 2
  private, public = (
    Records(*(np.asarray(a)[i] for a in records))
    for i in (order[:cut], order[cut:])
  )
  if source == "tabular":
    scaler = preprocessing.StandardScaler().fit(public.x)
    private, public = (
      Records(scaler.transform(r.x), r.y) for r in (private, public)
    )
  return private, public


def estimator(name: str, unfitted, count: int) -> dict:
  private, public = halves(name)
  x, y = private.x.reshape(len(private.y), -1), private.y
  public = Records(public.x.reshape(len(public.y), -1), public.y)
  x, public = np.float64(x), Records(np.float64(public.x), public.y)
  count = min(count, len(y))
  before = base.clone(unfitted).fit(x, y)
  left = deletion.left_by_solver(before, *public, records=len(y))
  ours, blind, informed = [], [], []
  for i in range(count):
    rest = np.delete(x, i, 0), np.delete(y, i)
    after = base.clone(unfitted).fit(*rest)
    ours.append(
      deletion.reconstruct(before, after, *public, records=len(y), left=left)
    )
    values = [outputs(model, public.x) for model in (before, after)]
    blind.append(public.x[deletion.most_changed(*values)])
    informed.append(closed_form.reconstruct(before, *rest))
  strict = ", tol=1e-8" if unfitted is STRICT else ""
  kind = type(unfitted).__name__
  case = dict(case=f"{kind}{strict}, {name}", records=len(y))
  targets = Records(x[:count], y[:count])
  return case | compared(targets, public, ours, blind, informed)


def outputs(model, x) -> np.ndarray:
  if hasattr(model, "predict_proba"):
    return model.predict_proba(x)
  return model.predict(x)


def mlp(name: str, width: int, shape):
  model = models.build("mlp", 10, shape, dict(width=width, activation="elu"))

  def loss(params, x, y):
    logits = model.apply(params, x[None])[0]
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)

  return model, loss


def network(name: str, width: int, trained_on: bool, count: int) -> dict:
  private, public = halves(name)
  model, loss = mlp(name, width, private.x.shape[1:])
  x, y = np.float64(private.x), private.y
  public = Records(np.float64(public.x), public.y)
  key = prng.root(0)
  before, largest = stationary.minimise(loss, model.init(key), x, y, l2=L2)
  before = jax.tree.map(np.asarray, before)
  ours, blind, informed = [], [], []
  for i in range(count):
    rest = np.delete(x, i, 0), np.delete(y, i)
    start = before if trained_on else model.init(jax.random.fold_in(key, i))
    after, gradient = stationary.minimise(loss, start, *rest, l2=L2)
    largest = max(largest, gradient)
    after = jax.tree.map(np.asarray, after)
    ours.append(
      deletion.reconstruct_network(
        *(loss, before, after, *public), records=len(y), l2=L2
      )
    )
    values = [
      np.asarray(jax.nn.softmax(model.apply(p, public.x)))
      for p in (before, after)
    ]
    blind.append(public.x[deletion.most_changed(*values)])
    informed.append(stationarity.reconstruct(loss, before, *rest, l2=L2))
  case = dict(
    case=f"{name}-{width}-10, {'trained on' if trained_on else 'anew'}",
    records=len(y),
    largest_gradient=largest,
  )
  targets = Records(x[:count], y[:count])
  return case | compared(targets, public, ours, blind, informed)


def frozen(count: int) -> dict:
  """Features that a head gives away, and pictures by a linear map of them that
  the public half teaches."""
  private, public = halves("mnist")
  extractor = head.Extractor(10)
  params = head.fit_extractor(extractor, public, prng.root(0), epochs=3)
  features = head.make_features(extractor, params)
  x, known = features(private.x), features(public.x)
  decoder = linear_model.RidgeCV(np.geomspace(1e-3, 1e3, 7))
  decoder.fit(known, public.x.reshape(len(known), -1))
  before = base.clone(CLASSIFIER).fit(x, private.y)
  left = deletion.left_by_solver(before, known, public.y, records=len(x))
  answers = [], []
  for i in range(count):
    rest = np.delete(x, i, 0), np.delete(private.y, i)
    after = base.clone(CLASSIFIER).fit(*rest)
    ours = deletion.reconstruct(
      before, after, known, public.y, records=len(x), left=left
    )
    informed = closed_form.reconstruct(before, *rest)
    for found, answer in zip(answers, (ours, informed)):
      picture = decoder.predict(answer.x[None])[0].clip(0, 1)
      found.append(answer._replace(x=picture, error=np.full(784, np.nan)))
  flat = [Records(r.x.reshape(len(r.y), -1), r.y) for r in (private, public)]
  targets = Records(flat[0].x[:count], flat[0].y[:count])
  row = compared(targets, flat[1], answers[0], None, answers[1])
  return dict(case="head on frozen features, mnist", records=len(x)) | row


def compared(targets, public, ours, blind, informed) -> dict:
  """The three adversaries in a row."""
  x = targets.x.reshape(len(targets.y), -1)
  known = public.x.reshape(len(public.y), -1)
  oracle = baselines.nearest_neighbour_oracle(x, known).mse
  middle = known.mean(0)

  def scored(answers):
    guess = np.array(answers).reshape(len(x), -1)
    guess = np.where(np.isfinite(guess), guess, middle)
    mse = np.mean((guess - x) ** 2, 1)
    a, b = guess - middle, x - middle
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = np.sum(a * b, 1) / np.maximum(lengths, 1e-300)
    found = int((mse < oracle).sum())
    interval = stats.binomtest(found, len(x)).proportion_ci(method="exact")
    return mse, dict(
      found=found,
      found_ci95=[round(float(v), 3) for v in interval],
      cosine=float(cosine.mean()),
      error=float(np.median(mse)),
      exact=int((mse <= EXACT).sum()),
    )

  mse, row = scored([r.x for r in ours])
  spread = np.mean(known.var(0))
  stated = np.array([np.sqrt(np.mean(np.square(r.error))) for r in ours])
  right = np.array([np.allclose(r.y, y) for r, y in zip(ours, targets.y)])
  sure = np.array(["lost in" not in r.message for r in ours])
  result = dict(
    public=len(known),
    targets=len(x),
    features=x.shape[1],
    variance=float(spread),
    oracle_error=float(np.median(oracle)),
    ours=row | dict(labels_right=int(np.sum(right))),
    z=float(np.sqrt(np.median(mse / stated**2))),
    informed=scored([r.x for r in informed])[1],
  )
  if targets.y.dtype.kind in "iu":
    result["understood"] = dict(
      answers=int(sure.sum()),
      found=int((sure & (mse < oracle)).sum()),
      labels_right=int((sure & right).sum()),
    )
  if blind is not None:
    result["baseline"] = scored(blind)[1]
  return result


if __name__ == "__main__":
  app.run(main)
