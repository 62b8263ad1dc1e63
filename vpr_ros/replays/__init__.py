"""A drive through the chain or the node, and what came of it."""
