"""What a command prints of its results, for people."""
