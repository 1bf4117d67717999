"""Checks the contract of a plug-in of yours, such as an architecture.

informed-recon check models path/to/file.py
informed-recon check data path/to/source.py

An architecture is also built with its `TINY` options for a small grey and a
small colour image: logits of the right shape, records that do not see one
another, models that stack, and whether its records can be clipped for DP-SGD.
A reconstructor network reads the parameters of a small mlp, a data source loads
its records; of the other families the exported functions are looked for.
"""

from informed_recon.types import UserError

from . import app

POSITIONAL = True
FAMILIES = {
  "models": "models",
  "networks": "attacks.reconstructor.networks",
  "data": "data",
  "mechanisms": "training.mechanisms",
  "stages": "stages",
  "curves": "report.curves",
  "executors": "sweeps.executors",
}
USAGE = f"usage: informed-recon check {'|'.join(FAMILIES)} FILE.py"
SHAPES = ((8, 8, 1), (12, 12, 3))
CLASSES = 5


def main(argv):
  from informed_recon import registry

  if len(argv) != 3 or argv[1] not in FAMILIES:
    raise UserError(USAGE)
  family, name = FAMILIES[argv[1]], argv[2]
  module = registry.find(family, name)
  if family == "models":
    options = getattr(module, "TINY", {})
    for line in (_architecture(name, shape, options) for shape in SHAPES):
      print(line)
  elif family.endswith("networks"):
    _network(name, getattr(module, "TINY", {}))
  elif family == "data":
    from informed_recon import data

    found = data.load(data.DataSpec(name))
    print(f"{len(found.records.y)} records {found.shape}")
  print(f"{name}: keeps the contract of {family}")


def _architecture(name: str, shape: tuple[int, ...], options: dict) -> str:
  """Builds a model and holds it to its contract; returns what it is."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  from informed_recon import models
  from informed_recon.training import clipping

  model = models.build(name, CLASSES, shape, options)
  init, apply = jax.jit(model.init), jax.jit(model.apply)
  one, other = (init(jax.random.key(i)) for i in (0, 1))
  x = jax.random.uniform(jax.random.key(2), (3, *shape))
  logits = apply(one, x)
  if not np.isfinite(logits).all():
    raise UserError(f"{name}: logits for random records are not finite")
  alone = apply(one, x[1:2])
  if not np.allclose(alone, logits[1:2], atol=1e-4):
    raise UserError(f"{name}: a record's logits depend on the other records")
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), one, other)
  both = jax.jit(jax.vmap(model.apply, (0, None)))(stacked, x)
  if not np.allclose(both[0], logits, atol=1e-4):
    raise UserError(f"{name}: under vmap over models the logits change")
  if np.allclose(both[0], both[1], atol=1e-6):
    raise UserError(f"{name}: the initial parameters do not follow the key")
  try:
    clipping.check(model)
    private = "its records can be clipped for DP-SGD"
  except UserError as error:
    private = f"no DP-SGD: {error}"
  return f"records {shape}: {model.num_params} parameters; {private}"


def _network(name: str, options: dict) -> None:
  """Lets a reconstructor network read a small mlp's parameters."""
  import jax
  import numpy as np

  from informed_recon import models
  from informed_recon.attacks.reconstructor import networks

  shape = SHAPES[0]
  layout = models.build("mlp", CLASSES, shape, dict(width=4)).layout
  network = networks.build(name, layout, shape, options)
  size = sum(leaf.size for leaf in layout)
  theta = np.random.default_rng(0).normal(size=(3, size)).astype(np.float32)
  init = jax.jit(network.init, static_argnames="train")
  apply = jax.jit(network.apply, static_argnames="train")
  variables = init(jax.random.key(0), theta, train=False)
  images = np.asarray(apply(variables, theta, train=False))
  if images.shape != (3, *shape):
    raise UserError(
      f"{name}: parameters (3, {size}) must become records (3, "
      f"{', '.join(map(str, shape))}), got {images.shape}"
    )
  if not (images.min() >= 0 and images.max() <= 1):
    raise UserError(f"{name}: its records must lie in [0, 1]")


if __name__ == "__main__":
  app.run(main, positional=POSITIONAL)
