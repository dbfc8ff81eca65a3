"""What did a study find? From its records to tables, figures, sentences and a page; needs no MLX."""
