"""What maps and queries cost, and what they find."""
