"""Reconstructor networks, one file each: released parameters in, record out."""
