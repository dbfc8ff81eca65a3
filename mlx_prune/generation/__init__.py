"""What does a model answer? Sampling under keyed noise, one answer at a time or in batches."""
