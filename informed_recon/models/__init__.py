"""Architectures of released models, one file each."""
