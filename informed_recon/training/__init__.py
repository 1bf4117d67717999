"""How released and shadow models are trained."""
