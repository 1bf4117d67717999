"""Data sources, one file each: `load(**options) -> Dataset`."""
