"""What LLVM's level of optimisation costs and gives: shadow training on a CPU.

python -m bench.compiling [--quick] [--keep=FILE]

The public notebook's network on MNIST digits, 64 models in a program. Seconds
of the processor to compile it at each level, and seconds to run it, in turn,
medians of the rounds, as ratios to XLA's default level of 3.
"""

import time

import jax
import numpy as np
from absl import app, flags

from bench import interleaved, printed
from bench.shadow_training import CLASSES, OPTIONS, RATE, STEPS, digits
from informed_recon import compiler, models, prng
from informed_recon.training import ensemble, loop, recipe
from informed_recon.types import Records

LEVELS = "3", "2", "1", "0"
MODELS = 64


def main(argv):
  del argv
  quick = flags.FLAGS.quick
  sizes, rounds = ((500,), 1) if quick else ((500, 1000, 5000), 5)
  if jax.default_backend() != "cpu":
    raise SystemExit("bench.compiling measures a CPU's compiler")
  jax.config.update("jax_enable_compilation_cache", False)
  printed((row(n, rounds) for n in sizes), flags.FLAGS.keep)


def row(n: int, rounds: int) -> dict:
  records = digits(n + MODELS)
  fixed = Records(*(a[:n] for a in records))
  targets = Records(*(a[-MODELS:] for a in records))
  lit = np.any(fixed.x, axis=0)
  model = models.build("mlp", CLASSES, lit.shape, dict(width=10))
  spec = recipe.Recipe(STEPS, optimizer_options=OPTIONS)
  train = loop.make_train(model, spec, lit=lit)
  many = ensemble.make_ensemble(train, ensemble.Threat())
  ids = np.arange(MODELS, dtype=np.int32)
  given = prng.root(0), fixed, targets, ids, recipe.HParams(RATE)
  programs, seconds = {}, {}
  for level in LEVELS:
    lowered = many.lower(*given)
    start = time.process_time()
    programs[level] = lowered.compile({compiler.LEVEL: level})
    seconds[level] = time.process_time() - start

  def run(level):
    jax.block_until_ready(programs[level](*given))

  ran = interleaved(
    {level: lambda level=level: run(level) for level in LEVELS}, rounds
  )
  out = dict(case=f"784-10-10, n = {n}", compile_s=round(seconds["3"], 2))
  for level in LEVELS[1:]:
    out[f"compile_{level}"] = round(seconds[level] / seconds["3"], 3)
    out[f"run_{level}"] = round(ran[level] / ran["3"], 3)
  return out


if __name__ == "__main__":
  app.run(main)
