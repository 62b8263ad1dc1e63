"""A network, its tuples and a run that trains it."""
