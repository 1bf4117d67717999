"""What can be read out of a model's weights? Informed reconstruction in JAX."""

__version__ = "0.1.0"
