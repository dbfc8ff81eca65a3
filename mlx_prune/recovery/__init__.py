"""How does a pruned model get its quality back: it is trained towards the dense one, and its zeros stay."""
