"""A report's pictures: what they share, and a file for each family of them."""
