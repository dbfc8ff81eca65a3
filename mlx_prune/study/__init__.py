"""Which models, pruned how, are compared on what? Grids that carry on in one folder."""
