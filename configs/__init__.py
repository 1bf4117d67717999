"""Experiments, one file a claim: `get_config(arg) -> ConfigDict`."""
