"""What an attack is worth: errors, tests against chance, baselines, judges."""
