"""Parameter trees as rows of a matrix, and back."""

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon import models, tree


def test_round_trip_and_layout():
  model = models.build("mlp", 3, (4, 4, 1), dict(width=5))
  params = model.init(jax.random.key(0))
  vector = tree.flatten(params)
  assert vector.shape == (16 * 5 + 5 + 5 * 3 + 3,) == (model.num_params,)
  back = tree.unflatten(vector, params)
  jax.tree.map(np.testing.assert_array_equal, back, params)
  for leaf in model.layout:  # each name finds its own numbers in the vector
    layer, kind = leaf.name.split("/")
    part = vector[leaf.start : leaf.start + leaf.size].reshape(leaf.shape)
    np.testing.assert_array_equal(part, params[layer][kind])


def test_unflatten_restores_dtypes_from_abstract_leaves():
  params = dict(a=jnp.ones((2, 3), jnp.bfloat16), b=jnp.arange(4.0))
  like = jax.eval_shape(lambda: params)
  back = tree.unflatten(tree.flatten(params), like)
  assert back["a"].dtype == jnp.bfloat16 and back["b"].dtype == jnp.float32
  jax.tree.map(np.testing.assert_array_equal, back, params)
