"""The patch discriminator: its losses by hand, and that it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from informed_recon.attacks.reconstructor import discriminator


def _score(x):
  return x.mean((1, 2, 3))


def test_losses_by_hand():
  real = jnp.full((2, 4, 4, 1), 0.5)
  drawn = jnp.stack([jnp.zeros((4, 4, 1)), jnp.ones((4, 4, 1))])
  # ½ (0.5 - 1)² + ½ mean(0², 1²), and ½ mean((0 - 1)², (1 - 1)²).
  loss = discriminator.loss(_score, real, drawn)
  assert float(loss) == pytest.approx(0.125 + 0.25)
  assert float(discriminator.drawing_loss(_score, drawn)) == pytest.approx(0.25)


@pytest.mark.parametrize(
  "shape, patches",
  [((8, 8, 1), (4, 4)), ((28, 28, 1), (4, 4)), ((32, 20, 3), (4, 3))],
)
def test_it_scores_patches(shape, patches):
  network = discriminator.Network(channels=4)
  x = np.random.default_rng(0).uniform(size=(3, *shape))
  params = network.init(jax.random.key(0), x)
  assert params.keys() == {"params"}
  scores = network.apply(params, x)
  assert scores.shape == (3, *patches)
  alone = network.apply(params, x[1:2])
  np.testing.assert_allclose(alone, scores[1:2], atol=1e-5)


def test_it_learns_to_tell_sharp_from_blurred():
  """Checkerboards against their means, which a pixelwise loss would draw."""
  rng = np.random.default_rng(0)
  board = (np.indices((8, 8)).sum(0) % 2)[None, :, :, None]
  level = rng.uniform(0.3, 0.7, (40, 1, 1, 1))
  real = level + 0.2 * (board - 0.5)
  drawn = rng.permutation(level) + 0 * board
  network = discriminator.Network(channels=8)
  params = network.init(jax.random.key(0), real)
  optimizer = optax.adam(3e-3)
  state = optimizer.init(params)

  @jax.jit
  def step(params, state):
    grads = jax.grad(
      lambda p: discriminator.loss(
        lambda x: network.apply(p, x), real[:20], drawn[:20]
      )
    )(params)
    updates, state = optimizer.update(grads, state)
    return optax.apply_updates(params, updates), state

  for _ in range(60):
    params, state = step(params, state)
  score = network.apply(params, real[20:]).mean((1, 2))
  other = network.apply(params, drawn[20:]).mean((1, 2))
  assert score.min() > 0.5 > other.max()
