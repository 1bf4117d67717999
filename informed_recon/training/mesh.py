"""The devices of this process as one axis, to lay shadow models or batches on.

Processes share no computation: each trains its own models on its own devices,
and what they have in common is a folder.
"""

import math

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "shadow"


def local(batch: int = 0) -> Mesh:
  """All local devices, or as many as divide a batch into equal parts."""
  devices = jax.local_devices()
  if batch:
    devices = devices[: math.gcd(batch, len(devices))]
  # Explicit axes, the default, refuse indexed updates under vmap.
  return jax.make_mesh(
    (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
  )


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
  """An axis cut into one part a device."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))


def whole(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())
