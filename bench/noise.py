"""What noise with far-reaching tails costs: old and new draws in turn.

`draw`: 7,960 normal draws for each of 50 models under vmap. `step`: one whole
step of DP-SGD for 20 models (784-10-10, 1,000 known records).
"""

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from bench import interleaved, printed
from informed_recon import models, prng
from informed_recon.training import ensemble, noise
from informed_recon.training.mechanisms import dp_sgd
from informed_recon.training.recipe import HParams, Recipe
from informed_recon.types import Records

_QUICK = flags.DEFINE_bool("quick", False, "few rounds")
P = 7960


def old(key, shape=(), dtype=jnp.float32):
  return jax.random.normal(key, shape, dtype)


NEW = noise.gaussian


def _draw(sampler):
  draw = jax.jit(jax.vmap(lambda key: sampler(key, (P,))))
  keys = jax.random.split(jax.random.key(0), 50)
  return lambda: draw(keys)


def _step(sampler):
  model = models.build("mlp", 10, (28, 28, 1), dict(width=10))
  rng = np.random.default_rng(0)
  x, y = rng.random((1001, 28, 28, 1), np.float32), np.arange(1001) % 10
  fixed, target = (
    Records(jnp.asarray(x[i]), jnp.asarray(y[i])) for i in (slice(1000), 1000)
  )
  noise.gaussian = sampler
  try:
    gradient = dp_sgd.make(model, Recipe(1))
    params = model.init(prng.root(0))

    def one(model_id):
      keys = ensemble.model_keys(prng.root(0), ensemble.Threat(), model_id)
      return gradient(keys, 0, params, fixed, target, HParams(0.1))

    ids = jnp.arange(20)
    step = jax.jit(jax.vmap(one)).lower(ids).compile()
  finally:
    noise.gaussian = NEW
  return lambda: step(ids)


def measure(rounds: int):
  for case, make in (("draw", _draw), ("step", _step)):
    runs = {"peer": make(old), "ours": make(NEW)}
    seconds = interleaved(
      {
        name: lambda r=run: jax.block_until_ready(r())
        for name, run in runs.items()
      },
      rounds,
    )
    ratio = seconds["ours"] / seconds["peer"]
    yield dict(case=f"noise, {case}", **seconds, ratio=ratio, unit="s")


def main(argv):
  del argv
  printed(measure(7 if _QUICK.value else 30))


if __name__ == "__main__":
  app.run(main)
