"""Identification: is a reconstruction nearer to its target than to decoys?

The target is one of m candidates, all drawn alike, so that a guess made without
the model is right with probability 1/m, whatever the guess: kappa = 1/m, and
every bound of `informed_recon.dp.bounds` applies. It scores any attack,
whatever it answers with, and needs no threshold.
"""

import numpy as np


def identified(
  truth: np.ndarray, guess: np.ndarray, sizes: tuple[int, ...], seed: int
) -> dict[int, np.ndarray]:
  """Whether each reconstruction singles out its own target.

  Candidates are the target and m - 1 of the other targets, which no attack has
  seen either; a set of m is part of that target's larger sets. Since target
  and decoys are exchangeable, it does not matter where among them the target
  stands. A decoy at the same distance, such as a duplicate of the target,
  counts as a miss.

  Args:
    truth: (M, *shape) targets, in random order.
    guess: (M, *shape) reconstructions.
    sizes: numbers of candidates m, each at least 2; those above M are left out.
    seed: of the decoys, which are the same for every attack.

  Returns:
    m -> (M,) booleans.
  """
  count = len(truth)
  sizes = [m for m in sizes if m <= count]
  decoys = max(sizes, default=1) - 1
  x = truth.reshape(count, -1).astype(np.float64)
  rng = np.random.default_rng(seed)
  errors = np.empty((count, decoys + 1))
  for i, y in enumerate(guess.reshape(count, -1).astype(np.float64)):
    others = rng.permutation(count - 1)[:decoys]
    ids = np.append(i, others + (others >= i))
    errors[i] = np.mean((x[ids] - y) ** 2, axis=1)
  return {m: errors[:, 0] < errors[:, 1:m].min(1) for m in sizes}
