"""Differential privacy on the host, in float64: no jax is imported here."""
