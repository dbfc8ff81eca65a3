"""What goes to the Hub, under which name? A plan that is checked before anything is sent."""
