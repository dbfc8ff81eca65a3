"""What is in a model's folder, and what was done to it? Weights, configuration, sizes and the record."""
