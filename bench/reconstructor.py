"""Fitting a reconstructor: steps, waiting for the memory map, peak memory.

python -m bench.reconstructor [--quick] [--keep=FILE]
python -m bench.reconstructor --memory --models=54000

A synthetic store is written to --folder, which must have room for it. First,
`mlp` at the public notebook's size (10,000 models of 7,960 parameters): steps
fed from the memory map (ours) against steps on one batch that is there (peer).
Then steps of AdamW at batches of 32, 64 and 256, of `mlp` and `gram`, against a
PyTorch loop on the `mlp` (fused AdamW), where torch is installed.
With --memory, instead: the peak memory of fitting `conv` to --models convnets
of 90,154 parameters, in a process of its own. "anonymous" is what the process
must have; pages of the memory map come on top while memory is free, and the
system takes them back when it is not. To see that a limit holds, run it under
one: `systemd-run --scope -p MemoryMax=16G python -m bench.reconstructor ...`.
"""

import importlib.util
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import threading

import jax
import numpy as np
from absl import app, flags

from bench import interleaved, printed
from informed_recon import models, prng
from informed_recon.attacks import reconstructor
from informed_recon.attacks.reconstructor import fitting, networks, step
from informed_recon.attacks.reconstructor.standardisation import Standard
from informed_recon.storage import store as stores
from informed_recon.training import optimizers

_QUICK = flags.DEFINE_bool("quick", False, "fewer models, a small network")
_MEMORY = flags.DEFINE_bool("memory", False, "peak memory of fitting `conv`")
_MODELS = flags.DEFINE_integer("models", 54_000, "N of --memory")
_KEEP = flags.DEFINE_string("keep", "", "file for the rows as well")
_FOLDER = flags.DEFINE_string("folder", ".", "where the store is written")
_FIT = flags.DEFINE_string("fit", "", "internal: fits to the store there")
CHUNK, CLASSES = 500, 10
BATCH, STEPS = 32, 100
BATCHES, REPEATS = (32, 64, 256), 30
IMAGE = (32, 32, 3)


def main(argv):
  del argv
  if _FIT.value:
    print(json.dumps(fit(pathlib.Path(_FIT.value))))
    return
  with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
    folder = pathlib.Path(folder)
    found = [memory(folder)] if _MEMORY.value else steps_and_waiting(folder)
    printed(found, _KEEP.value)


def steps_and_waiting(folder: pathlib.Path):
  yield waiting(folder)
  yield from against_torch()


def against_torch():
  """Milliseconds a step, interleaved; the loss is MAE + MSE everywhere."""
  side, width = (8, 64) if _QUICK.value else (28, 1000)
  model = models.build("mlp", CLASSES, (side, side, 1), {})
  pixels, rounds = side * side, 1 if _QUICK.value else 5
  optimizer = optimizers.make("adamw", 1e-3, dict(weight_decay=1e-2))
  for batch in BATCHES:
    rng = np.random.default_rng(0)
    theta = rng.normal(size=(batch, model.num_params)).astype(np.float32)
    images = rng.random((batch, side, side, 1), np.float32)
    pair = jax.device_put((theta, images))
    standard = Standard(np.zeros(model.num_params), np.ones(model.num_params))
    standard = jax.device_put(jax.tree.map(np.float32, standard))
    cases = {}
    for name, options in (("mlp", dict(width=width)), ("gram", {})):
      network = networks.build(name, model.layout, model.shape, options)
      steps = step.make(
        *(network, reconstructor.Fit("adamw"), optimizer),
        *(model.num_params, prng.root(0)),
      )
      cases[name] = _loop(steps, standard, pair)
    if importlib.util.find_spec("torch"):
      from bench import torch_training

      cases["torch"] = torch_training.reconstructor_steps(
        (model.num_params, width, width, pixels), theta, images, REPEATS
      )
    seconds = interleaved(cases, rounds)
    for name in ("mlp", "gram"):
      ours, peer = seconds[name], seconds.get("torch")
      yield dict(
        case=f"{name}, AdamW, batches of {batch}",
        ours=round(1000 * ours / REPEATS, 2),
        peer=peer and round(1000 * peer / REPEATS, 2),
        ratio=peer and round(peer / ours, 2),
        unit="ms a step, the peer a PyTorch mlp",
      )


def _loop(steps, standard, pair):
  """Goes on with the same learner whenever it is called."""
  learner = steps.start()

  def run():
    nonlocal learner
    for i in range(REPEATS):
      learner, _ = steps.step(learner, standard, None, *pair, i)
    jax.block_until_ready(learner)

  return run


def waiting(folder: pathlib.Path) -> dict:
  """Milliseconds a step, and the share spent waiting for the memory map."""
  count, side = (1000, 8) if _QUICK.value else (10_000, 28)
  width = 64 if _QUICK.value else 1000
  model = models.build("mlp", CLASSES, (side, side, 1), {})
  synthetic(folder, count, model.num_params)
  rows = stores.open_rows(folder)
  records = random_images(count, model.shape)
  network = networks.build("mlp", model.layout, model.shape, dict(width=width))
  optimizer = optimizers.make("rmsprop", 3e-4, {})
  steps = step.make(
    network, reconstructor.Fit(), optimizer, rows.num_params, prng.root(0)
  )
  ones = np.ones(rows.num_params, np.float32)
  ids = np.random.default_rng(0).permutation(count)[: BATCH * STEPS]

  def run(batches):
    learner = steps.start()
    for i, pair in enumerate(batches):
      learner, _ = steps.step(learner, Standard(0 * ones, ones), None, *pair, i)
    jax.block_until_ready(learner)

  ready = rows.gather(ids[:BATCH]), records[ids[:BATCH]]
  total = len(ids) // BATCH
  cases = dict(
    ours=lambda: run(fitting._batches(rows, records, ids, BATCH)),
    peer=lambda: run([ready] * total),
  )
  seconds = interleaved(cases, 1 if _QUICK.value else 5)
  ours, peer = (1000 * seconds[k] / total for k in ("ours", "peer"))
  return dict(
    case=f"mlp, {count} models of {rows.num_params}, batches of {BATCH}",
    ours=round(ours, 2),
    peer=round(peer, 2),
    ratio=round(ours / peer, 2),
    unit="ms a step",
    waiting=round(max(1 - peer / ours, 0), 3),
  )


def memory(folder: pathlib.Path) -> dict:
  """Peak MiB of an epoch in a process of its own, against the store's size."""
  count = 200 if _QUICK.value else _MODELS.value
  params = convnet().num_params
  synthetic(folder, count, params)
  command = [sys.executable, "-m", "bench.reconstructor", f"--fit={folder}"]
  command += ["--quick"] * _QUICK.value
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  found = json.loads(done.stdout)
  size = round(count * params * 4 / 2**20)
  return dict(
    case=f"conv, {count} models of {params} parameters, one epoch",
    ours=found["anonymous"],
    peer=size,
    ratio=round(found["anonymous"] / size, 3),
    unit="MiB of peak anonymous memory, against all rows",
    **found,
  )


def fit(folder: pathlib.Path) -> dict:
  """An epoch of `conv` on the store, and the peaks of this process in MiB."""
  rows, model = stores.open_rows(folder), convnet()
  options = dict(channels=8, width=64) if _QUICK.value else {}
  network = networks.build("conv", model.layout, IMAGE, options)
  spec = reconstructor.Fit("adamw", epochs=1, batch_size=64, patience=0)
  done, peak = threading.Event(), [anonymous()]

  def watch():
    while not done.wait(0.05):
      peak[0] = max(peak[0], anonymous())

  before, watcher = anonymous(), threading.Thread(target=watch)
  watcher.start()
  try:
    attack = reconstructor.fit(
      *(network, spec, rows, random_images(len(rows), IMAGE), prng.root(0)),
      directory=folder / "fit",
    )
    attack(rows.gather(np.arange(100)))
  finally:
    done.set()
    watcher.join()
  most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return dict(before=before, anonymous=peak[0], resident=most // 1024)


def anonymous() -> int:
  """MiB of this process that are no file's pages (Linux)."""
  for line in open("/proc/self/status"):
    if line.startswith("RssAnon"):
      return int(line.split()[1]) // 1024
  raise OSError("no RssAnon in /proc/self/status")


def convnet() -> models.Model:
  return models.build("convnet", CLASSES, IMAGE, {})


def synthetic(folder: pathlib.Path, count: int, params: int) -> None:
  """A store of random models, written a chunk at a time."""
  rng = np.random.default_rng(0)
  about = dict(models="synthetic")
  stores.create(folder, stores.Store(count, params, CHUNK, about))
  for chunk in stores.chunks(folder):
    shape = chunk.end - chunk.start, params
    stores.write_chunk(chunk, rng.random(shape, np.float32))


def random_images(count: int, shape: tuple[int, ...]) -> np.ndarray:
  return np.random.default_rng(1).random((count, *shape), np.float32)


if __name__ == "__main__":
  app.run(main)
