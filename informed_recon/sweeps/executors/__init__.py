"""Where the points of a sweep run, one file a place.

A file exports `run(points, *, jobs, retries, options)`, which returns when
nothing is running any more. It calls `sweeps.state.attempt` for each point,
which leaves on disk what became of it.
"""

EXPORTS = ("run",)
