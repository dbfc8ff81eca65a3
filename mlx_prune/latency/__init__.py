"""Is it faster? Interleaved timings, paired ratios, verdicts, and the machine's state meanwhile."""
