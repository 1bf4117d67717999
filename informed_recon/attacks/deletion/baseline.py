"""What needs no gradient: the public record that the deletion moves most."""

import numpy as np


def most_changed(before: np.ndarray, after: np.ndarray) -> int:
  """Index of the record whose predictions (m, ...) before and after the
  deletion differ most (the baseline of Bertran et al. 2024)."""
  change = np.asarray(after, float) - np.asarray(before, float)
  return int(np.argmax(np.sum(change.reshape(len(change), -1) ** 2, axis=1)))
