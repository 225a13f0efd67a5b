"""What the records say of runs, for people and for scripts."""
