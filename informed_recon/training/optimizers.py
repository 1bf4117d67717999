"""Optimisers and learning-rate schedules of optax by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from informed_recon.types import UserError

LINE_SEARCH = ("lbfgs",)  # its update asks for the loss as a function


def names() -> list[str]:
  """Optax's optimisers that take a learning rate and need gradients alone."""
  return sorted(
    name
    for name, value in vars(optax).items()
    if inspect.isfunction(value)
    and not name.startswith(("_", "scale_by_"))  # parts of optimisers
    and name not in LINE_SEARCH
    and next(iter(inspect.signature(value).parameters), "") == "learning_rate"
  )


def make(
  name: str,
  learning_rate: float | jax.Array,
  options: Mapping[str, Any],
  *,
  schedule: str = "constant",
  steps: int = 0,
) -> optax.GradientTransformation:
  """The optimiser `optax.<name>(rate, **options)`.

  Args:
    name: one of `names()`.
    learning_rate: peak rate; may be traced, so that a sweep compiles once.
    options: further keyword arguments of the optimiser, such as momentum.
    schedule: "constant"; "cosine" (to 0 over `steps`); or "warmup_cosine"
      (linear over the first 5% of `steps`, then cosine to 0).
    steps: length of the schedule in optimiser steps.

  Raises:
    UserError: unknown optimiser, option or schedule.
  """
  if name not in names():
    raise UserError(f"unknown optimizer {name!r}; known: {', '.join(names())}")
  factory = getattr(optax, name)
  known = [p for p in inspect.signature(factory).parameters][1:]
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise UserError(
      f"optimizer {name!r} has no option {unknown[0]!r}; "
      f"known: {', '.join(known)}"
    )
  return factory(_schedule(schedule, learning_rate, steps), **options)


class Traits(NamedTuple):
  """What of an optimiser allows parameters to be held in other coordinates."""

  elementwise: bool  # each parameter moves by its own history, all alike
  linear: bool  # elementwise, and parameters and gradients may be superposed


def traits(name: str, options: Mapping[str, Any]) -> Traits:
  """Found out by three steps on a few numbers, so that none needs a list.

  Raises:
    UserError: unknown optimiser or option.
  """
  optimizer, rng = make(name, 0.1, options), np.random.default_rng(0)
  paths = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)

  def end(path, take):
    """Where a start (3, 2) and three gradients lead, held as `take` has it."""
    params, state = take(path[0]), optimizer.init(take(path[0]))
    for gradient in path[1:]:
      updates, state = optimizer.update(take(gradient), state, params)
      params = optax.apply_updates(params, updates)
    return params

  with jax.ensure_compile_time_eval():
    one, other, both = (
      np.asarray(end(path, lambda a: a)) for path in (*paths, sum(paths))
    )
    split = np.stack(end(paths[0], lambda a: list(a.T)), axis=1)
  elementwise = np.allclose(split, one, rtol=1e-5, atol=1e-6)
  superposed = np.allclose(one + other, both, rtol=1e-5, atol=1e-6)
  return Traits(elementwise, elementwise and superposed)


def _schedule(name: str, peak, steps: int) -> Callable | Any:
  warmup = max(steps // 20, 1)
  schedules = {
    "constant": lambda: peak,
    "cosine": lambda: optax.cosine_decay_schedule(peak, max(steps, 1)),
    # optax.warmup_cosine_decay_schedule asks `peak == 0`: no traced peak.
    "warmup_cosine": lambda: optax.join_schedules(
      [
        optax.linear_schedule(0.0, peak, warmup),
        optax.cosine_decay_schedule(peak, max(steps, 2) - warmup),
      ],
      [warmup],
    ),
  }
  if name not in schedules:
    raise UserError(f"unknown schedule {name!r}; known: {', '.join(schedules)}")
  return schedules[name]()
