"""Optimisers and learning-rate schedules of optax by name."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
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


def defaults(name: str) -> dict[str, Any]:
  """The options of an optimiser that have plain values, as optax sets them.

  Raises:
    UserError: unknown optimiser.
  """
  if name not in names():
    raise UserError(f"unknown optimizer {name!r}; known: {', '.join(names())}")
  parameters = inspect.signature(getattr(optax, name)).parameters
  return {
    key: parameter.default
    for key, parameter in list(parameters.items())[1:]
    if isinstance(parameter.default, bool | int | float | str)
  }


class Traits(NamedTuple):
  """Which other coordinates for the parameters an optimiser allows."""

  elementwise: bool  # each parameter moves by its own history, all alike
  linear: bool  # elementwise, and parameters and gradients may be superposed


# By name, whatever the options; a test compares both with what optax does. An
# optimiser that is in neither trains in the plain way.
LINEAR = ("optimistic_gradient_descent", "sgd")
ELEMENTWISE = (
  *LINEAR,
  *("adabelief", "adadelta", "adagrad", "adam", "adamax", "adamaxw", "adamw"),
  *("adan", "amsgrad", "lion", "optimistic_adam", "optimistic_adam_v2"),
  *("radam", "rmsprop", "rprop", "sign_sgd", "signum", "yogi"),
)


def traits(name: str, options: Mapping[str, Any]) -> Traits:
  """Of the optimiser `name`; an accumulator that rounds (`accumulator_dtype`)
  is not linear."""
  linear = name in LINEAR and options.get("accumulator_dtype") is None
  return Traits(name in ELEMENTWISE, linear)


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
