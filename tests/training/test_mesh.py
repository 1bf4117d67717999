"""Eight devices do what one does, and do not talk while at it."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

import informed_recon
from informed_recon import models, prng
from informed_recon.attacks import reconstructor
from informed_recon.attacks.reconstructor import networks
from informed_recon.storage import files, store
from informed_recon.storage.store import Store
from informed_recon.training import ensemble, loop, mesh, recipe
from informed_recon.types import Records

ROOT = pathlib.Path(informed_recon.__file__).parent.parent
SHAPE, CLASSES = (6, 6, 1), 3
COLLECTIVES = r"all-(reduce|gather|to-all)|reduce-scatter|collective-permute"
# Sums over a batch are taken in another order.
CLOSE = dict(rtol=0, atol=2e-5)


def _records(n, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.uniform(size=(n, *SHAPE)).astype(np.float32)
  return Records(x, rng.integers(CLASSES, size=n).astype(np.int32))


def _setting(batch_size, threat):
  mlp = models.build("mlp", CLASSES, SHAPE, dict(width=5))
  options = dict(momentum=0.9)
  train = loop.make_train(
    mlp, recipe.Recipe(6, batch_size, optimizer_options=options)
  )
  return mlp, ensemble.make_ensemble(train, threat)


def shadows(batch_size, shared, block):
  """21 models in blocks; no number of devices here divides them."""
  _, many = _setting(batch_size, ensemble.Threat(shared, shared))
  parts = ensemble.train_blocks(
    *(many, prng.root(0), _records(40), _records(21, 1)),
    *(np.arange(100, 121), recipe.HParams(0.2, 1e-3), block),
  )
  return np.concatenate(list(parts))


def attack(directory, batch_size):
  """What a reconstructor fitted on random rows answers."""
  mlp, _ = _setting(0, ensemble.Threat())
  rng = np.random.default_rng(0)
  values = rng.normal(size=(40, mlp.num_params)).astype(np.float32)
  where = directory / f"rows{batch_size}"
  store.create(where, Store(40, mlp.num_params, 40, {}))
  for chunk in store.chunks(where):
    store.write_chunk(chunk, values)
  network = networks.build("mlp", mlp.layout, SHAPE, dict(width=8))
  spec = reconstructor.Fit(
    optimizer="sgd", learning_rate=0.1, epochs=2, batch_size=batch_size
  )
  fitted = reconstructor.fit(
    *(network, spec, store.open_rows(where), _records(40).x, prng.root(1)),
    directory / f"fit{batch_size}",
  )
  return fitted(values[:7])


def collectives(batch_size):
  """Names of the collectives in the compiled training, and where rows lie."""
  _, many = _setting(batch_size, ensemble.Threat(False, False))
  devices = mesh.local()
  batch, ids = jax.device_put(
    (_records(16), np.arange(16, dtype=np.int32)), mesh.split(devices)
  )
  fixed = jax.device_put(_records(40), mesh.whole(devices))
  lowered = many.lower(prng.root(0), fixed, batch, ids, recipe.HParams(0.2))
  compiled = lowered.compile()
  found = [m.group() for m in re.finditer(COLLECTIVES, compiled.as_text())]
  return found, compiled.output_shardings.is_fully_replicated


SHADOWS = [(0, True, 8), (0, False, 1), (4, True, 2), (4, False, 3)]


def main(out):
  """What the eight devices have to say."""
  directory = pathlib.Path(out)
  rows = {str(i): shadows(*case) for i, case in enumerate(SHADOWS)}
  rows |= {f"attack{b}": attack(directory, b) for b in (8, 12)}
  files.write_arrays(directory / "rows.npz", **rows)
  said = dict(
    devices=jax.local_device_count(),
    parts=[mesh.local(b).size for b in (0, 8, 12, 7)],
    collectives=[collectives(b) for b in (0, 4)],
    # The detector detects: a sum over the models is one.
    detector=re.findall(
      COLLECTIVES,
      jax.jit(lambda x: x.sum(0))
      .lower(jax.device_put(np.ones((8, 3)), mesh.split(mesh.local())))
      .compile()
      .as_text(),
    ),
  )
  files.write_json(directory / "said.json", said)


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
  out = tmp_path_factory.mktemp("eight")
  flags = os.environ.get("XLA_FLAGS", "")
  flags += " --xla_force_host_platform_device_count=8"
  subprocess.run(
    [sys.executable, "-m", "tests.training.test_mesh", str(out)],
    **dict(cwd=ROOT, check=True, env=os.environ | {"XLA_FLAGS": flags}),
  )
  return files.read_json(out / "said.json"), files.read_arrays(out / "rows.npz")


def test_all_local_devices_are_used(eight):
  said, _ = eight
  assert said["devices"] == 8 and jax.local_device_count() == 1
  assert said["parts"] == [8, 8, 4, 1]


@pytest.mark.parametrize("case", range(len(SHADOWS)))
def test_eight_devices_train_the_bits_of_one(eight, case):
  _, rows = eight
  np.testing.assert_array_equal(rows[str(case)], shadows(*SHADOWS[case]))


def test_no_collective_in_shadow_training(eight):
  said, _ = eight
  assert said["collectives"] == [[[], False], [[], False]]
  assert said["detector"]


@pytest.mark.parametrize("batch_size", [8, 12])
def test_a_reconstructor_is_the_same_on_eight_devices(
  eight, batch_size, tmp_path
):
  _, rows = eight
  one = attack(tmp_path, batch_size)
  np.testing.assert_allclose(rows[f"attack{batch_size}"], one, **CLOSE)
  assert one.std() > 100 * CLOSE["atol"]


if __name__ == "__main__":
  main(sys.argv[1])
