"""A report's tables: for each a row's class, which is its schema, and the function that fills it."""
