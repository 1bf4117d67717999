"""Reconstructor networks, one file each: released parameters in, record out.

A file exports `Network`, a Flax linen module with fields `layout` (where each
released parameter array lies in the flat vector) and `record_shape`, options
with defaults, and `TINY`, options small enough for tests. It maps standardised
parameters (B, P) and `train: bool` to records (B, *record_shape) in [0, 1].
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from informed_recon import registry, tree
from informed_recon.models import NEEDED, construct, fields, shapes
from informed_recon.types import UserError

EXPORTS = ("Network",)
GIVEN = ("layout", "record_shape")


def build(
  name: str,
  layout: tuple[tree.Leaf, ...],
  record_shape: tuple[int, ...],
  options: Mapping[str, Any],
) -> nn.Module:
  """The network in `informed_recon/attacks/reconstructor/networks/<name>.py`.

  Raises:
    UserError: unknown name or option, or released parameters it cannot read.
  """
  if not 0 <= options.get("dropout", 0.0) < 1:
    raise UserError(f"dropout must lie in [0, 1), got {options['dropout']}")
  network = construct(
    _network(name),
    name,
    options,
    layout=layout,
    record_shape=record_shape,
  )
  params = sum(leaf.size for leaf in layout)
  shapes(network, name, jnp.zeros((1, params)), train=False)
  return network


def defaults(name: str) -> dict[str, Any]:
  """The options of a reconstructor network, with their defaults.

  Raises:
    UserError: unknown name, or a file without a linen module `Network`.
  """
  known = fields(_network(name), *GIVEN)
  return {key: value for key, value in known.items() if value is not NEEDED}


def first_kernel(layout: tuple[tree.Leaf, ...], pixels: int) -> tree.Leaf:
  """Where the kernel (pixels, units) of a dense first layer lies.

  Raises:
    UserError: the released model has no such layer.
  """
  # After convolutions a dense layer may by chance have as many inputs.
  dense = all(len(leaf.shape) <= 2 for leaf in layout)
  for leaf in layout if dense else ():
    if len(leaf.shape) == 2 and leaf.shape[0] == pixels:
      return leaf
  raise UserError(
    f"this reconstructor needs a released model whose first layer is "
    f"fully connected on {pixels} inputs; use network=mlp for others"
  )


def _network(name: str) -> type[nn.Module]:
  network = registry.find("attacks.reconstructor.networks", name).Network
  own = getattr(network, "__dataclass_fields__", ())
  if not (isinstance(network, type) and issubclass(network, nn.Module)):
    raise UserError(f"network {name!r}: its Network is no Flax linen module")
  missing = [key for key in GIVEN if key not in own]
  if missing:
    raise UserError(
      f"network {name!r}: its Network has no field {missing[0]!r}"
    )
  return network
