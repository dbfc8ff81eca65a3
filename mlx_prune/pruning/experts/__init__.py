"""Fewer experts: which ones of a mixture stay, and a checkpoint whose files hold only these."""
