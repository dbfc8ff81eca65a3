"""A report's sentences: the finding and what limits it."""
