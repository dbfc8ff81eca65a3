"""What follows from the answers? Rates, intervals and tests; knows neither models nor files."""
