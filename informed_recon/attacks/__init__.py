"""Released-model attacks, one file each."""
