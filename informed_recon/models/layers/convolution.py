"""Convolution as one matrix product, for models trained by the thousand.

Under vmap every model has its own kernel, and in a loop XLA's convolutions are
slow on CPU, above all their gradients: 23 to 48 times slower than this form
(`bench/convolution.py`).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def patch_product(
  x: jax.Array,
  kernel: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  dimension_numbers=None,
  feature_group_count: int = 1,
  precision=None,
) -> jax.Array:
  """A 2-D convolution, to be given to `nn.Conv` as `conv_general_dilated`.

  The shifted images lie beside each other as channels, so that the convolution
  is a product of (B·H'·W', kh·kw·C) with (kh·kw·C, O).

  Args:
    x: (B, H, W, C).
    kernel: (kh, kw, C, O).
    window_strides: of height and width.
    padding: as for `jax.lax.conv_general_dilated`; so are the rest.

  Returns:
    (B, H', W', O).

  Raises:
    ValueError: dilation or groups.
  """
  dilations = (*(lhs_dilation or ()), *(rhs_dilation or ()))
  if set(dilations) - {1} or feature_group_count != 1:
    raise ValueError("patch_product knows neither dilation nor groups")
  del dimension_numbers  # flax's: NHWC, HWIO
  *size, channels, features = kernel.shape
  if isinstance(padding, str):
    padding = jax.lax.padtype_to_pads(
      x.shape[1:3], size, window_strides, padding
    )
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  last = [
    (n - k) // s * s for n, k, s in zip(x.shape[1:3], size, window_strides)
  ]
  shifted = [
    x[:, i : i + last[0] + 1 : window_strides[0],
      j : j + last[1] + 1 : window_strides[1]]
    for i in range(size[0])
    for j in range(size[1])
  ]  # fmt: skip
  patches = jnp.concatenate(shifted, axis=-1)
  flat = kernel.reshape(-1, features)
  return jnp.dot(patches, flat, precision=precision)
