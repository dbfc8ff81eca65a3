"""May a candidate be released? Limits, what is judged against them, and how it is told."""
