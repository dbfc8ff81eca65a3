"""What does a checkpoint's README say? Model cards from record and results; no method is named here."""
