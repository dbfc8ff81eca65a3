"""What did one model answer, under which settings? Runs that carry on, and their records."""
