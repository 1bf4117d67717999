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
from informed_recon.models import construct, shapes
from informed_recon.types import UserError


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
    registry.find("attacks.reconstructor.networks", name).Network,
    name,
    options,
    layout=layout,
    record_shape=record_shape,
  )
  params = sum(leaf.size for leaf in layout)
  shapes(network, name, jnp.zeros((1, params)), train=False)
  return network
