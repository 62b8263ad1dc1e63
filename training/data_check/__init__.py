"""What data is found, and what is wrong with it."""
