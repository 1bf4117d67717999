"""Faces of the command line, one file each: `informed-recon NAME`.

A file exports `main(argv)` and may export `REQUIRED`, the flags that must be
given. Its docstring is its help. It imports what is heavy inside `main`, so
that `--help` answers at once.
"""
