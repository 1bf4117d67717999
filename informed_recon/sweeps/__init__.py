"""Many runs of one experiment: their plan, what became of them, who runs."""
