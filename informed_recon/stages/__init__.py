"""Resumable steps of an experiment: the only code that sees a ConfigDict."""
