"""Files that survive a kill: models in chunks, claims, checkpoints, repair."""
