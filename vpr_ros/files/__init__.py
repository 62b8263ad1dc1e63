"""Read and written safely: whole or not at all, one writer at a time, no more memory than is looked at."""
