"""A homogeneous network: ReLU, and biases in the first layer alone.

f(c θ; x) = c^L f(θ; x) for c > 0, with L layers; a bias in a later layer would
break that. A small first layer at the start makes a trained one a sum over its
training records and little else.
"""

import jax
import jax.numpy as jnp

START = 1e-4  # standard deviation of the first layer's initial numbers


def init(key: jax.Array, sizes: tuple[int, ...]) -> dict[str, jax.Array]:
  """Parameters of a network d-h-...-K, `sizes` (d, h, ..., K).

  The first layer is drawn from N(0, START²), the others from N(0, 2 / inputs).
  """
  keys = jax.random.split(key, len(sizes))
  scales = [START, *((2 / a) ** 0.5 for a in sizes[1:-1])]
  params = {
    f"kernel{i}": scale * jax.random.normal(k, shape)
    for i, (k, scale, shape) in enumerate(
      zip(keys, scales, zip(sizes[:-1], sizes[1:]))
    )
  }
  bias = START * jax.random.normal(keys[-1], sizes[1:2])
  return params | dict(bias0=bias)


def apply(params, x: jax.Array, relu=jax.nn.relu) -> jax.Array:
  """Logits (B, K) of records (B, d)."""
  last = len(params) - 2
  x = x @ params["kernel0"] + params["bias0"]
  for i in range(1, last + 1):
    x = relu(x) @ params[f"kernel{i}"]
  return x


def train(
  params, x: jax.Array, y: jax.Array, *, loss: float, rate=5e-4, steps=20_000
):
  """Full-batch gradient descent until the mean cross-entropy is below `loss`.

  Plain gradient descent takes exponentially long, since its gradient falls with
  the loss. Steps here are `rate` of the parameters' norm along the gradient of
  the loss's logarithm: the same direction, a faster clock.

  Returns:
    (params, the mean loss's logarithm), after at most `steps` steps.
  """

  def log_loss(params):
    logits = apply(params, x)
    if logits.shape[1] == 1:
      margin = (2 * y - 1) * logits[:, 0]
    else:
      own = jax.nn.one_hot(y, logits.shape[1], dtype=bool)
      others = jax.nn.logsumexp(jnp.where(own, -jnp.inf, logits), axis=1)
      margin = jnp.where(own, logits, 0).sum(1) - others
    # log softplus(-m) is -m where exp(-m) would vanish.
    near = jnp.log(jax.nn.softplus(-jnp.minimum(margin, 15)))
    each = jnp.where(margin > 15, -margin, near)
    return jax.nn.logsumexp(each) - jnp.log(len(y))

  @jax.jit
  def many(params):
    def step(params, _):
      value, slope = jax.value_and_grad(log_loss)(params)
      length = rate * _norm(params) / jnp.maximum(_norm(slope), 1e-30)
      move = jax.tree.map(lambda p, s: p - length * s, params, slope)
      return move, value

    return jax.lax.scan(step, params, None, 500)

  value = jnp.inf
  for _ in range(-(-steps // 500)):
    if not value > jnp.log(loss):
      break
    params, values = many(params)
    value = values[-1]
  return params, float(value)


def _norm(tree) -> jax.Array:
  return jnp.sqrt(sum(jnp.vdot(a, a) for a in jax.tree.leaves(tree)))
