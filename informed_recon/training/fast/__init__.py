"""Ways that reach the same parameters sooner."""
