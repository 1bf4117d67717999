"""Thousands of training runs as one vmap, in blocks that fit the memory.

What is shared by all models and what is not follows from the threat model:
a shared initialisation or batch order is one unbatched computation under
vmap; a per-model one is folded with the model's global id.
"""

import dataclasses
from collections.abc import Callable, Iterator
from concurrent import futures

import jax
import jax.numpy as jnp
import numpy as np

from informed_recon import allocator, compiler, prng, tree
from informed_recon.training import mesh
from informed_recon.training.recipe import HParams, Keys, Train
from informed_recon.types import Records, UserError

# What a block may take where nothing is asked for; found by trial on two cores.
# Models that share little are best alone in the cache. Those that multiply one
# large matrix read it in every step: in a block a few times its size that no
# longer counts, and a much larger one leaves the cache again.
CPU_BLOCK_BYTES = 8 << 20
TIMES_SHARED = 5
ACCELERATOR_FRACTION = 0.25  # of the device's memory, if known, for a block
UNDER_WAY = 2  # blocks at a time


@dataclasses.dataclass(frozen=True)
class Threat:
  """What the adversary knows of the randomness in training.

  The noise of a private mechanism and its choice of records are never known.
  """

  shared_init: bool = True  # the released model's initial parameters are known
  shared_order: bool = True  # so is its mini-batch order
  # Where its initial parameters are not known, so many are, of which they are
  # one; 0: none.
  initialisations: int = 0


Ensemble = Callable[
  [jax.Array, Records, Records, jax.Array, HParams], jax.Array
]
BASE_ID = np.uint32(2**32 - 1)  # of the model without a target; no row has it


def model_keys(root: jax.Array, threat: Threat, model_id: jax.Array) -> Keys:
  """The keys of the model with a global id: streams shared or its own."""

  def key(name, shared=False, of=0):
    stream = prng.stream(root, name)
    number = model_id % of if of else model_id
    return stream if shared else jax.random.fold_in(stream, number)

  return Keys(
    init=key("init", threat.shared_init, of=threat.initialisations),
    order=key("order", threat.shared_order),
    noise=key("noise"),
    sampling=key("sampling"),
  )


def make_one(train: Train, threat: Threat) -> Callable:
  """`(root, fixed, target, id, hparams) -> (P,)` float32, the training of one
  model. Its global id alone decides its random draws."""

  def one(root, fixed, target, model_id, hparams):
    keys = model_keys(root, threat, model_id)
    return tree.flatten(train(keys, fixed, target, hparams))

  return one


def make_ensemble(train: Train, threat: Threat) -> Ensemble:
  """Jitted `(root, fixed, targets, ids, hparams) -> (B, P)` float32.

  `targets` holds B records and `ids` (B,) int32 their global ids (rows of the
  data set).
  """
  allocator.keep_freed_memory()
  many = jax.vmap(make_one(train, threat), in_axes=(None, None, 0, 0, None))
  return jax.jit(many, compiler_options=compiler.options())


def block_size(
  ensemble: Ensemble,
  root: jax.Array,
  fixed: Records,
  targets: Records,
  hparams: HParams,
  budget_bytes: int = 0,
) -> int:
  """Largest power of two of models a device whose training fits the budget.

  By default the models of a block may take `TIMES_SHARED` the memory of what is
  made once for all of them, and at least `CPU_BLOCK_BYTES` or a share of an
  accelerator's memory. The working set is read off the compiled program, so the
  answer depends on the program, the device and the budget alone, never on a
  timing: two runs on one machine train in the same blocks and end with the same
  bits.

  Args:
    ensemble: from `make_ensemble`.
    root: typed key.
    fixed: the fixed set.
    targets: at least one record, for its shape.
    hparams: any.
    budget_bytes: of each device, for the blocks that are under way on it at a
      time; 0 is the default.
  """

  def working_set(size: int) -> int:
    """Bytes that training takes beside its inputs."""
    batch = Records(
      *(
        jax.ShapeDtypeStruct((size, *t.shape[1:]), jnp.asarray(t[:1]).dtype)
        for t in targets
      )
    )
    ids = jax.ShapeDtypeStruct((size,), jnp.int32)
    lowered = ensemble.lower(root, fixed, batch, ids, hparams)
    memory = lowered.compile(compiler.unrun()).memory_analysis()
    return memory.temp_size_in_bytes + memory.output_size_in_bytes

  # Affine in the number of models where these are many: two sizes tell.
  small, large = working_set(32), working_set(64)
  per_model = max((large - small) / 32, 1)
  shared = max(small - 32 * per_model, 0)
  if budget_bytes:
    fits = (budget_bytes / UNDER_WAY - shared) / per_model
  else:
    # A guess at what runs fast, not a limit.
    budget = max(_default_budget(), TIMES_SHARED * shared)
    fits = max(budget / per_model, 1)
  if fits < 1:
    needed = UNDER_WAY * (shared + per_model) / 2**20
    raise UserError(
      f"training, {UNDER_WAY} models at a time, needs {needed:.1f} MiB, the "
      f"budget is {budget_bytes / 2**20:.1f} MiB; raise perf.block_mib"
    )
  size = 1 << int(np.log2(fits))
  share = max(len(targets.y) / jax.local_device_count(), 1)
  return min(size, 1 << int(np.ceil(np.log2(share))))


def train_blocks(
  ensemble: Ensemble,
  root: jax.Array,
  fixed: Records,
  targets: Records,
  ids: np.ndarray,
  hparams: HParams,
  block: int,
) -> Iterator[np.ndarray]:
  """Yields the trained parameters of `targets` in order, (M, P) each; they are
  held until they are asked for.

  Each local device trains `block` models in a block, so M is at most that times
  their number. Every device runs the program of a single block whatever their
  number, the last blocks padded: the bits depend on `block` alone.

  `UNDER_WAY` blocks are trained at a time, each from its own thread: one is
  fetched while another trains, and a CPU's cores that have nothing to do in a
  narrow part of the one work on the other.
  """
  devices = mesh.local()
  width = block * devices.size
  fixed = jax.device_put(Records(*fixed), mesh.whole(devices))

  def train(start: int) -> np.ndarray:
    take = np.arange(start, start + width).clip(max=len(ids) - 1)
    batch = Records(*(np.asarray(t)[take] for t in targets))
    batch, models = jax.device_put(
      (batch, ids[take].astype(np.int32)), mesh.split(devices)
    )
    rows = ensemble(root, fixed, batch, models, hparams)
    return np.asarray(rows)[: len(ids) - start]

  with futures.ThreadPoolExecutor(UNDER_WAY) as threads:
    yield from threads.map(train, range(0, len(ids), width))


def train_base(
  train: Train, root: jax.Array, fixed: Records, hparams: HParams
) -> np.ndarray:
  """Parameters (P,) trained on the fixed set alone, with the shared keys; a
  private mechanism draws its own."""
  one = make_one(train, Threat())
  run = jax.jit(
    lambda f, h: one(root, f, None, BASE_ID, h),
    compiler_options=compiler.options(),
  )
  return np.asarray(run(Records(*map(jnp.asarray, fixed)), hparams))


def _default_budget() -> int:
  device = jax.local_devices()[0]
  if device.platform == "cpu":
    return CPU_BLOCK_BYTES
  stats = device.memory_stats() or {}
  return int(ACCELERATOR_FRACTION * stats.get("bytes_limit", 8 << 30))
