"""Tests of the privacy room; hypothesis repeats the same examples each run."""

from hypothesis import settings

settings.register_profile(
  "dp", derandomize=True, deadline=None, max_examples=60, database=None
)
settings.load_profile("dp")
