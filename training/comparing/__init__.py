"""Several ways to describe an image, beside each other."""
