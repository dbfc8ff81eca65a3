"""Prune models: random, magnitude, Wanda and SparseGPT, unstructured or N:M, in memory or between folders."""
