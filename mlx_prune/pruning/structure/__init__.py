"""Structured pruning: fewer neurons, key-value groups or blocks, saved as a smaller dense checkpoint."""
