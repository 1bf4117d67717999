"""Full-batch training with the first kernel in a form of its own."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from informed_recon.training.fast import first_layer, transposed
from informed_recon.training.recipe import HParams, cross_entropy
from informed_recon.types import Records


class Trained(NamedTuple):
  """A network's parameters while it trains, and likewise their gradient."""

  kernel: Any  # the first kernel's coordinates, as the form has them
  others: list[jax.Array]  # all other parameter arrays, in their order


class Given(NamedTuple):
  """What stays the same in all steps."""

  layer: Any  # the form's own
  labels: jax.Array  # (n',) of the fixed records, filled up to n'
  weight: jax.Array  # (n',) 1 for a record, 0 for a filling
  label: jax.Array  # (1,) of the target


@dataclasses.dataclass(frozen=True)
class FullBatch:
  """Minimises the objective of `training.mechanisms.none` at full batch."""

  network: transposed.Network
  form: first_layer.Dense | first_layer.Span
  n: int  # fixed records
  structure: Any  # of the model's parameters

  def enter(self, params, fixed: Records, target: Records):
    others = jax.tree.leaves(params)
    kernel = others.pop(self.network.kernel)
    columns = fixed.x.reshape(self.n, -1).T, target.x.reshape(-1, 1)
    kernel, layer = self.form.enter(kernel, *columns)
    empty = -self.n % first_layer.TILE  # records without a weight
    labels = jnp.pad(fixed.y, (0, empty))
    weight = jnp.pad(jnp.ones(self.n), (0, empty))
    return (
      Trained(kernel, others),
      Given(layer, labels, weight, target.y[None]),
    )

  def gradient(self, trained: Trained, given: Given, hparams: HParams):
    products = self.form.products(trained.kernel, given.layer)
    others, deltas = self.backward(trained.others, products, given)
    kernel = self.form.pull(*deltas, trained.kernel, given.layer)
    return self.mean(Trained(kernel, others), trained, hparams)

  def leave(self, trained: Trained, given: Given):
    leaves = self._leaves(trained.others)
    kernel = self.form.leave(trained.kernel, given.layer)
    leaves[self.network.kernel] = kernel
    return jax.tree.unflatten(self.structure, leaves)

  def backward(self, others, products, given: Given, present=1.0):
    """Of the sum of all losses, the target's times `present`: gradients like
    `others`, and cotangents (H, n') and (H, 1) of the first layer's products
    with the fixed set and with the target."""

    def loss(others, products):
      leaves = self._leaves(others)
      of_fixed, of_target = (
        cross_entropy(self.network.rest(leaves, z), y, axis=0)
        for z, y in zip(products, (given.labels, given.label))
      )
      return jnp.sum(given.weight * of_fixed) + present * of_target[0]

    return jax.grad(loss, (0, 1))(others, products)

  def mean(self, total: Trained, trained: Trained, hparams: HParams):
    """The objective's gradient from that of the sum of losses."""
    size = self.n + 1
    return jax.tree.map(lambda g, p: g / size + hparams.l2 * p, total, trained)

  def _leaves(self, others):
    """All parameter arrays, None in place of the first kernel."""
    at = self.network.kernel
    return [*others[:at], None, *others[at:]]
