"""What encoders are made of, and their weights file."""
