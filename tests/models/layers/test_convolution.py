"""The convolution by patches is flax's."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from informed_recon.models.layers.convolution import patch_product


@pytest.mark.parametrize("size", [1, 2, 3, (5, 4)])
@pytest.mark.parametrize("stride", [1, 2, (3, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (1, 3))])
def test_patch_product_is_a_convolution(size, stride, padding):
  size = (size, size) if isinstance(size, int) else size
  settings = dict(features=4, kernel_size=size, strides=stride, padding=padding)
  plain = nn.Conv(**settings)
  ours = nn.Conv(**settings, conv_general_dilated=patch_product)
  x = jax.random.normal(jax.random.key(0), (2, 9, 8, 3))
  params = plain.init(jax.random.key(1), x)
  np.testing.assert_allclose(
    ours.apply(params, x), plain.apply(params, x), atol=1e-5
  )


@pytest.mark.parametrize(
  "wrong", [dict(kernel_dilation=2), dict(feature_group_count=3)]
)
def test_what_it_does_not_know_is_refused(wrong):
  conv = nn.Conv(3, (3, 3), conv_general_dilated=patch_product, **wrong)
  with pytest.raises(ValueError, match="neither dilation nor groups"):
    conv.init(jax.random.key(0), np.zeros((1, 8, 8, 3)))
