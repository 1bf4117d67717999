"""Full-batch training of networks with a dense first layer, the fast way.

The objective is that of `training.mechanisms.none`; the network is read
from its jaxpr (`records_last`), and its first layer, in which nearly all of the
operations lie, is trained in the form that costs least (`first_layer`).
"""

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon.models import Model
from informed_recon.training import optimizers
from informed_recon.training.fast import difference, first_layer, records_last
from informed_recon.training.recipe import Program, Recipe, cross_entropy


def program(
  model: Model, recipe: Recipe, n: int, lit: np.ndarray | None = None
) -> Program | None:
  """For n fixed records and a target; None where the plain way is to be taken:
  mini-batches, a network that cannot be read, an optimiser that looks at more
  than one parameter at a time.

  `lit` (*shape) is false where every fixed record is zero; None: not known."""
  traits = optimizers.traits(recipe.optimizer, recipe.optimizer_options)
  enough = traits.elementwise
  if recipe.products != "float32":
    enough = traits.linear
  if recipe.batch_size or not enough:
    return None
  network = records_last.read(model)
  if network is None:
    return None
  like = jax.eval_shape(model.init, jax.random.key(0))
  tree = jax.tree.structure(like)
  d, at = jax.tree.leaves(like)[network.kernel].shape[0], network.kernel
  lit = np.ones(d, bool) if lit is None else np.ravel(lit)
  forms = [first_layer.Dense(lit)]
  if traits.linear:
    forms.append(first_layer.Span())
  form = min(forms, key=lambda f: f.operations(n, d, recipe.steps))

  def enter(params, fixed, target):
    leaves = jax.tree.leaves(params)
    columns = fixed.x.reshape(n, d).T, target.x.reshape(d, 1)
    held, given = form.enter(leaves.pop(at), *columns)
    empty = -n % first_layer.TILE  # records without a weight
    labels = jnp.pad(fixed.y, (0, empty)), target.y[None]
    weight = jnp.pad(jnp.ones(n), (0, empty))
    return (held, leaves), (given, (labels, weight))

  def loss(leaves, products, labels, weight, present=1.0):
    """The sum over all records, not the mean."""
    leaves = [*leaves[:at], None, *leaves[at:]]
    of_fixed, of_target = (
      cross_entropy(network.rest(leaves, z), y, axis=0)
      for z, y in zip(products, labels)
    )
    return jnp.sum(weight * of_fixed) + present * of_target[0]

  def mean(total, held, hparams):
    return jax.tree.map(lambda g, p: g / (n + 1) + hparams.l2 * p, total, held)

  def gradient(held, given, hparams):
    (first, leaves), (given, data) = held, given
    products = form.products(first, given)
    grads, deltas = jax.grad(loss, (0, 1))(leaves, products, *data)
    return mean((form.pull(*deltas, first, given), grads), held, hparams)

  def leave(held, given):
    first, leaves = held
    kernel = form.leave(first, given[0])
    return jax.tree.unflatten(tree, [*leaves[:at], kernel, *leaves[at:]])

  plain = Program(enter, gradient, leave)
  if recipe.products == "float32":
    return plain
  return difference.program(plain, form, loss, mean, recipe.products)
