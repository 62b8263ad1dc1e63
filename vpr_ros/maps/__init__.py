"""What a map is made of, and its life."""
