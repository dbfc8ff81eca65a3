"""What does a model see of a conversation? Tokenizers, chat templates, and where an answer ends."""
