"""Architectures of released models, one file each.

A file exports one of these, and may export `TINY`, options small enough for
tests:

- `Network`, a Flax linen module with a field `num_classes` and options with
  defaults, which maps records (B, *shape) to logits (B, K);
- `Network`, a Flax NNX module built by `Network(shape, num_classes, *, rngs,
  **options)`, which maps the same;
- two functions `init(key, shape, num_classes, **options) -> params` and
  `apply(params, x, **options) -> logits`.

The rest of the project sees the pair of pure functions that `build` returns.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from informed_recon import registry, tree
from informed_recon.types import UserError


class Model(NamedTuple):
  """An architecture behind two pure functions."""

  init: Callable[[jax.Array], Any]  # key -> params
  apply: Callable[[Any, jax.Array], jax.Array]  # params, (B, *shape) -> (B, K)
  layout: tuple[tree.Leaf, ...]  # where each parameter array lies in (P,)
  shape: tuple[int, ...]  # of one record

  @property
  def num_params(self) -> int:
    return sum(leaf.size for leaf in self.layout)


class Pair(NamedTuple):
  """An architecture before it is checked."""

  init: Callable[[jax.Array], Any]  # key -> params
  apply: Callable[[Any, jax.Array], jax.Array]  # params, (B, *shape) -> (B, K)


def build(
  name: str,
  num_classes: int,
  shape: tuple[int, ...],
  options: Mapping[str, Any],
) -> Model:
  """The architecture that `registry.find` has for `name`, for records (*shape).

  Raises:
    UserError: unknown name or option, options that make no network for such
      records, or a file that is no architecture.
  """
  make, known = _kind(registry.find("models", name), name)
  _refuse_unknown(name, options, known)
  pair = make(name, num_classes, tuple(shape), options)
  params = _traced(name, shape, pair.init, jax.random.key(0))
  examples = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  logits = _traced(name, shape, pair.apply, params, examples)
  bad = [
    leaf.name
    for leaf, x in zip(tree.layout(params), jax.tree.leaves(params))
    if not jnp.issubdtype(x.dtype, jnp.floating)
  ]
  if bad:
    raise UserError(f"model {name!r}: parameter {bad[0]!r} is not of real type")
  if getattr(logits, "shape", None) != (2, num_classes):
    raise UserError(
      f"model {name!r} must map records (B, {', '.join(map(str, shape))}) to "
      f"logits (B, {num_classes}); for B = 2 it gave {_brief(logits)}"
    )
  return Model(*pair, layout=tree.layout(params), shape=tuple(shape))


def defaults(name: str) -> dict[str, Any]:
  """The options of an architecture, with their defaults.

  Raises:
    UserError: unknown name, or a file that is no architecture.
  """
  _, known = _kind(registry.find("models", name), name)
  return {key: value for key, value in known.items() if value is not NEEDED}


NEEDED = inspect.Parameter.empty  # an option without a default


def _kind(module: ModuleType, name: str) -> tuple[Callable, dict[str, Any]]:
  """How to make a `Pair` of a file, and its options with their defaults."""
  network = getattr(module, "Network", None)
  if inspect.isclass(network) and issubclass(network, nn.Module):
    if "num_classes" not in network.__dataclass_fields__:
      raise UserError(f"model {name!r}: its Network has no field num_classes")
    known = fields(network, "num_classes")
    return functools.partial(_linen, network), known
  if inspect.isclass(network) and issubclass(network, nnx.Module):
    known = _keywords(network.__init__, 3, "rngs")
    return functools.partial(_nnx, network), known
  init, apply = (getattr(module, key, None) for key in ("init", "apply"))
  if callable(init) and callable(apply):
    return functools.partial(_functions, init, apply), _keywords(init, 3)
  raise UserError(
    f"model {name!r} has neither a Network, a Flax linen or NNX module, nor "
    "functions init(key, shape, num_classes) and apply(params, x); "
    "see docs/extend.md"
  )


def fields(network: type[nn.Module], *given: str) -> dict[str, Any]:
  """The options of a linen module, with their defaults."""
  found = {}
  for field in dataclasses.fields(network):
    if field.name not in (*given, "parent", "name"):
      missing = field.default is dataclasses.MISSING
      found[field.name] = NEEDED if missing else field.default
  return found


def _keywords(function: Callable, skip: int, *given: str) -> dict[str, Any]:
  parameters = list(inspect.signature(function).parameters.values())[skip:]
  plain = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
  return {
    p.name: p.default
    for p in parameters
    if p.kind not in plain and p.name not in given
  }


def _linen(network, name, num_classes, shape, options) -> Pair:
  module = construct(network, name, options, num_classes=num_classes)
  example = jnp.zeros((1, *shape), jnp.float32)
  _refuse_state(name, shapes(module, name, example).keys() - {"params"})
  return Pair(
    init=lambda key: module.init(key, example)["params"],
    apply=lambda params, x: module.apply({"params": params}, x),
  )


def _nnx(network, name, num_classes, shape, options) -> Pair:
  def split(key):
    made = network(shape, num_classes, rngs=nnx.Rngs(key), **options)
    return nnx.split(made, nnx.Param, ...)

  def abstract():
    return nnx.eval_shape(
      lambda: network(shape, num_classes, rngs=nnx.Rngs(0), **options)
    )

  graph, params, rest = nnx.split(
    _traced(name, shape, abstract, trace=False), nnx.Param, ...
  )
  paths = [path for path, _ in nnx.to_flat_state(rest)]
  _refuse_state(name, {"/".join(map(str, path)) for path in paths})

  def apply(values, x):
    state = jax.tree.map(lambda leaf: leaf, params)
    nnx.replace_by_pure_dict(state, values)
    return nnx.merge(graph, state, rest)(x)

  return Pair(lambda key: nnx.to_pure_dict(split(key)[1]), apply)


def _functions(init, apply, name, num_classes, shape, options) -> Pair:
  del name
  return Pair(
    init=lambda key: init(key, shape, num_classes, **options),
    apply=lambda params, x: apply(params, x, **options),
  )


def _refuse_state(name: str, extra: set[str]) -> None:
  """Batch statistics make every record's output depend on the others, so that
  "all records but one" would no longer mean one loss term less."""
  if extra:
    raise UserError(
      f"model {name!r} keeps state besides its parameters "
      f"({', '.join(sorted(extra))}), which couples the records "
      "of a batch; use group or layer norm instead"
    )


def _refuse_unknown(name: str, options: Mapping, known: Mapping) -> None:
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise UserError(
      f"{name!r} has no option {unknown[0]!r}; known: "
      f"{', '.join(sorted(known)) or 'none'}"
    )
  needed = [k for k, v in known.items() if v is NEEDED and k not in options]
  if needed:
    raise UserError(f"{name!r} needs a value for its option {needed[0]!r}")


def _brief(value: Any) -> str:
  return str(getattr(value, "shape", type(value).__name__))


def _traced(name, shape, function, *arguments, trace=True) -> Any:
  """Shapes of what a user's function returns; one line where it fails."""
  try:
    if not trace:
      return function(*arguments)
    return jax.eval_shape(function, *arguments)
  except UserError:
    raise
  except Exception as error:  # whatever a network may raise
    reason = str(error).strip().splitlines()[:1]
    if isinstance(error, ZeroDivisionError):
      reason = ["a layer has no units"]
    raise UserError(
      f"{name!r} cannot be built for inputs of shape {tuple(shape)} with "
      f"these options: {''.join(reason) or type(error).__name__}"
    ) from error


def construct(
  network: type[nn.Module], name: str, options: Mapping, **given
) -> nn.Module:
  """A linen module from a config's options; an unknown one lists the known."""
  _refuse_unknown(name, options, fields(network, *given))
  return network(**given, **options)


def shapes(network: nn.Module, name: str, *inputs, **options):
  """Shapes of a network's variables; one that cannot be made says so here."""
  init = functools.partial(network.init, **options)
  key = jax.random.key(0)
  variables = _traced(name, inputs[0].shape, init, key, *inputs)
  if any(0 in leaf.shape for leaf in jax.tree.leaves(variables)):
    raise UserError(f"{name!r} has a layer without units; check its options")
  return variables


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
  """Activation of `flax.linen` by name."""
  known = ("celu", "elu", "gelu", "leaky_relu", "relu", "silu", "softplus")
  known += ("sigmoid", "tanh")
  if name not in known:
    raise UserError(f"unknown activation {name!r}; known: {', '.join(known)}")
  return getattr(nn, name)
