"""What does a user type, and what is printed? One file per command."""
