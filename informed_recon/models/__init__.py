"""Architectures of released models, one file each.

A file exports `Network`, a Flax linen module with a field `num_classes` and
options with defaults, mapping a batch of records (B, *shape) to logits (B, K),
and `TINY`, options small enough for tests. The rest of the project sees the
pair of pure functions that `build` returns.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

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


def build(
  name: str,
  num_classes: int,
  shape: tuple[int, ...],
  options: Mapping[str, Any],
) -> Model:
  """The model in `informed_recon/models/<name>.py` for records of `shape`.

  Raises:
    UserError: unknown name or option, options that make no network for such
      records, or a model with state besides
      parameters: batch statistics make every record's output depend on the
      others, so "all records but one" would no longer mean one loss term less.
  """
  network_class = registry.find("models", name).Network
  network = construct(network_class, name, options, num_classes=num_classes)
  example = jnp.zeros((1, *shape), jnp.float32)
  variables = shapes(network, name, example)
  extra = sorted(variables.keys() - {"params"})
  if extra:
    raise UserError(
      f"model {name!r} keeps state besides its parameters "
      f"({', '.join(extra)}), which couples the records "
      "of a batch; use group or layer norm instead"
    )
  return Model(
    init=lambda key: network.init(key, example)["params"],
    apply=lambda params, x: network.apply({"params": params}, x),
    layout=tree.layout(variables["params"]),
    shape=tuple(shape),
  )


def construct(
  network_class: type[nn.Module], name: str, options: Mapping, **given
) -> nn.Module:
  """A linen module from a config's options; an unknown one lists the known."""
  fields = {f.name for f in dataclasses.fields(network_class)}
  known = sorted(fields - given.keys() - {"parent", "name"})
  unknown = sorted(set(options) - set(known))
  if unknown:
    raise UserError(
      f"{name!r} has no option {unknown[0]!r}; known: {', '.join(known)}"
    )
  return network_class(**given, **options)


def shapes(network: nn.Module, name: str, *inputs, **options):
  """Shapes of a network's variables; one that cannot be made says so here."""
  init = functools.partial(network.init, **options)
  try:
    variables = jax.eval_shape(init, jax.random.key(0), *inputs)
  except UserError:
    raise
  except Exception as error:  # whatever a network may raise
    reason = str(error).strip().splitlines()[:1]
    if isinstance(error, ZeroDivisionError):
      reason = ["a layer has no units"]
    raise UserError(
      f"{name!r} cannot be built for inputs of shape {inputs[0].shape} with "
      f"these options: {''.join(reason) or type(error).__name__}"
    ) from error
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
