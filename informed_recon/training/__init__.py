"""How released models, shadow models and the judge are trained."""
