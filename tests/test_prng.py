"""Key streams: by name, by id, and the same under vmap."""

import jax
import numpy as np

from informed_recon import prng


def _bits(key):
  return int(jax.random.bits(key))


def test_streams_differ_by_name_and_seed_and_repeat():
  names = ("init", "order", "noise", "judge", "reconstructor a")
  draws = [_bits(prng.stream(prng.root(s), n)) for s in (0, 1) for n in names]
  assert len(set(draws)) == len(draws)
  again = [_bits(prng.stream(prng.root(s), n)) for s in (0, 1) for n in names]
  assert draws == again


def test_streams_do_not_change_between_versions():
  """Stored runs depend on it: a change here must change the store's format."""
  assert _bits(prng.stream(prng.root(0), "init")) == 432271249


def test_vmap_over_ids_is_a_loop():
  """Holds for threefry alone, whatever the user's default generator."""
  key = prng.stream(prng.root(3), "init")

  def draw(i):
    return jax.random.normal(jax.random.fold_in(key, i), (4,))

  ids = np.arange(5)
  with jax.default_prng_impl("rbg"):
    key = prng.stream(prng.root(3), "init")
    together = jax.vmap(draw)(ids)
    for i in ids:
      np.testing.assert_array_equal(together[i], draw(i))
