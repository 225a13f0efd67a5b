"""Programs that show the package at work; each runs with ``python -m samples.<name>``."""
