"""The audit of weights that are already there."""

import collections
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from informed_recon.attacks import convex, sklearn, stationarity
from informed_recon.attacks.stationarity import problem
from informed_recon.audit import frame as frames
from informed_recon.audit import optimum as at
from informed_recon.audit import weights
from informed_recon.audit.answer import Audit, answer
from informed_recon.audit.attack import attack
from informed_recon.audit.choice import choose
from informed_recon.audit.entry import deadline_of, losses
from informed_recon.audit.simulated import Found
from informed_recon.audit.training import Train, prepare, vector
from informed_recon.types import Reconstruction, UserError


class Head(NamedTuple):
  """A last layer that was trained to its optimum on fixed features.

  Its objective is that of `attacks.convex.reconstruct`, in sum form.
  """

  weights: Any  # (K, d), or (d,) where there is one output
  intercept: Any  # (K,)
  features: Callable[[Any], Any]  # records (n, ...) -> (n, d)
  l2: float  # sum form
  family: str = "softmax"
  penalise_intercept: bool = False


def audit_released(
  params,
  x,
  y,
  *,
  train: Train | None = None,
  key: Any = None,
  loss: Callable | None = None,
  l2: float | None = None,
  head: Head | None = None,
  records: str | Sequence[int] | None = None,
  minutes: float | None = None,
  workdir=None,
) -> Audit:
  """Which of the records x can be read out of a released model?

  What is known of the recipe decides what is tried, in this order:
    train: the whole recipe. Where it reproduces the release, every record is
      looked for through the training; where it does not, that is said.
    loss, l2: the training objective, the mean of loss(params, x, y) over the
      records plus (l2 / 2) ‖params‖², trained to convergence, however that was
      done (`attacks.stationarity`).
    head: a convex last layer; the features of a record are read in closed form.
  A fitted scikit-learn estimator states its objective itself: its records are
  read in closed form (`attacks.sklearn`), and nothing else is tried.

  Args:
    params: a pytree, the path of a file for `load`, or a fitted estimator.
    x: (n, ...) all training records.
    y: (n, ...) their labels or responses.
    train: (key, x, y) -> parameters of the same structure.
    key: handed to `train`.
    loss: (params, x, y) -> () of one record.
    l2: penalty of the mean loss.
    head: of a fine-tuned model.
    records: as in `audit`.
    minutes: as in `audit`.
    workdir: as in `audit`.

  Returns:
    The answer of the first attack that could be mounted. With `head` alone, mse
    and oracle_mse are of the features.

  Raises:
    UserError: arguments that cannot be audited; one line says why.
  """
  deadline = deadline_of(minutes)
  x, y = frames.check(x, y)
  if isinstance(params, str) or hasattr(params, "__fspath__"):
    params = weights.load(params)
  frame, tried, found = frames.make(x, y), [], None
  if hasattr(params, "predict"):
    chosen = choose(records, frame.pack(x, y), minutes)
    return _fitted(params, frame, x, y, chosen, deadline)
  value = None
  if loss is not None:
    stated = problem.check(
      loss, params, x, y, l2=l2 or 0.0, labels=frame.labels, bounds=None
    )
    value = losses(loss, params, x, y)
  chosen = choose(records, frame.pack(x, y), minutes, value)
  if train is None:
    tried.append(
      "Simulation was not tried: it wants the whole recipe (train=, key=)."
    )
  else:
    training = prepare(
      train, jax.random.key(0) if key is None else key, x, y, frame
    )
    theta = np.asarray(vector(params))
    if theta.shape != training.theta.shape:
      raise UserError(
        f"the release has {theta.size} parameters, the recipe "
        f"{training.theta.size}; a torch state dict goes through from_torch"
      )
    if training.simulate:
      training = training._replace(theta=theta)
      found = attack(
        training,
        frame,
        x,
        y,
        chosen,
        deadline,
        fallback=False,
        workdir=workdir,
      )
      if len(found.reconstructions):
        return found
      tried += found.facts["tried"] + found.facts["measured"]
    else:
      gap = np.linalg.norm(theta - training.theta)
      tried.append(
        f"Simulation was impossible: {training.why}. The recipe ends "
        f"{gap:.3g} from the release, whose norm is "
        f"{np.linalg.norm(theta):.3g}."
      )
  if loss is not None and l2 is not None:
    return _stationary(stated, frame, x, y, chosen, deadline, tried)
  if head is not None:
    return _closed_form(head, x, y, chosen, tried)
  tried.append(
    "Stationarity was not tried: it wants the objective (loss=, and the l2= it "
    "was trained with) of a model that was trained to convergence."
  )
  tried.append("The closed form was not tried: it wants a convex last layer.")
  return answer(frame, x, y, chosen, {}, "none", tried, [])


def _stationary(stated, frame, x, y, chosen, deadline, tried):
  """Each chosen record from the gradient that is missing at the release."""
  found, optimum = {}, at.of_loss(stated)
  if not optimum.reached:
    tried.append(f"Stationarity was impossible. {optimum.said}")
    return answer(frame, x, y, chosen, found, "none", tried, [])
  for i in chosen.tolist():
    if found and time.monotonic() > deadline:
      break
    others = np.delete(np.arange(len(x)), i)
    bounds = tuple(frame.center[0] + frame.scale[0] * np.array(frame.limits))
    one = stationarity.reconstruct(
      stated.loss,
      stated.params,
      x[others],
      y[others],
      l2=stated.l2,
      labels=frame.labels,
      bounds=bounds,
    )
    found[i] = _answered(one, x.shape[1:], frame.scale[: frame.features])
  tried.append(
    f"Stationarity: the gradient missing at the release, for {len(found)} of "
    f"{len(chosen)} chosen records; training is not run, and no key is needed. "
    f"{optimum.said}"
  )
  return answer(frame, x, y, chosen, found, "stationarity", tried, [])


def _answered(one: Reconstruction, shape, scale) -> Found:
  """An attack's answer as the audit keeps it; nothing unchecked is sure."""
  error = np.nan
  if one.error is not None:
    error = float(np.sqrt(np.mean((np.ravel(one.error) / scale) ** 2)))
  sure = bool(one.identifiable and one.checked)
  return Found(np.reshape(one.x, shape), one.y, one.residual, error, sure)


def _fitted(estimator, frame, x, y, chosen, deadline):
  """Each chosen record from the optimum of an estimator of scikit-learn."""
  found, why = {}, collections.Counter()
  for i in chosen.tolist():
    if found and time.monotonic() > deadline:
      break
    others = np.delete(np.arange(len(x)), i)
    one = sklearn.reconstruct(estimator, x[others], y[others])
    found[i] = _answered(one, x.shape[1:], frame.scale[: frame.features])
    if not found[i].confident:
      why[one.message] += 1
  tried = [
    f"Closed form of {type(estimator).__name__}, for {len(found)} of "
    f"{len(chosen)} chosen records; training is not run."
  ]
  notes = [
    f"Not vouched for, {count} of {len(found)} records: {reason}."
    for reason, count in why.most_common(1)
  ]
  return answer(frame, x, y, chosen, found, "closed_form", tried, notes)


def _closed_form(head: Head, x, y, chosen, tried):
  """The features of each chosen record from the head's own optimum."""
  features = np.asarray(head.features(x), np.float64)
  if features.ndim != 2 or len(features) != len(x):
    raise UserError(
      f"head.features must map the {len(x)} records to (n, d), got "
      f"{features.shape}"
    )
  found, frame = {}, frames.make(features, y)
  optimum = at.of_head(head, features, y)
  if not optimum.reached:
    tried.append(f"The closed form was impossible. {optimum.said}")
    return answer(frame, features, y, chosen, found, "none", tried, [])
  for i in chosen.tolist():
    others = np.delete(np.arange(len(x)), i)
    one = convex.reconstruct(
      head.family,
      head.weights,
      head.intercept,
      features[others],
      y[others],
      l2=head.l2,
      penalise_intercept=head.penalise_intercept,
    )
    found[i] = _answered(one, features.shape[1:], np.ones(features.shape[1]))
  tried.append(
    f"Closed form of the last layer, for {len(found)} records: what is found "
    f"are features, and mse and oracle_mse are theirs. {optimum.said}"
  )
  return answer(frame, features, y, chosen, found, "closed_form", tried, [])
