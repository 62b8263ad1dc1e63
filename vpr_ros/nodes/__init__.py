"""What the node is made of."""
