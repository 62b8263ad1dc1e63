"""A small town to drive through, and the demo."""
